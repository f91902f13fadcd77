"""trio-websocket as its documentation shows it: a handler task per connection that awaits `send_message`."""

import trio
import trio_websocket

from benchmarks.contenders import control

MESSAGES_WAITING_MAX = 64


async def run(wanted: int) -> None:
    attendance = control.Attendance(wanted)
    mailboxes: list[trio.MemorySendChannel[str]] = []

    async def handler(request: trio_websocket.WebSocketRequest) -> None:
        connection = await request.accept()
        send, receive = trio.open_memory_channel[str](MESSAGES_WAITING_MAX)
        mailboxes.append(send)
        attendance.one_more()
        async for message in receive:
            await connection.send_message(message)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=control.HANDSHAKES_WAITING_MAX)
        server = trio_websocket.WebSocketServer(handler, listeners)
        await nursery.start(server.run)
        control.announce_port(listeners[0].socket.getsockname()[1])
        async for burst in control.bursts_trio():
            for _ in range(burst):
                for mailbox in mailboxes:
                    mailbox.send_nowait(control.MESSAGE)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run, control.connections_wanted())
