"""`websockets` on asyncio with its own `broadcast()`: what its documentation recommends for this very job."""

import asyncio

from websockets.asyncio.server import ServerConnection, broadcast, serve

from benchmarks.contenders import control


async def run(wanted: int) -> None:
    attendance = control.Attendance(wanted)

    async def handler(connection: ServerConnection) -> None:
        attendance.one_more()
        await connection.wait_closed()

    async with serve(
        handler, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=control.HANDSHAKES_WAITING_MAX
    ) as server:
        control.announce_port(next(iter(server.sockets)).getsockname()[1])
        async for burst in control.bursts_asyncio():
            for _ in range(burst):
                broadcast(server.connections, control.MESSAGE)


if __name__ == "__main__":
    asyncio.run(run(control.connections_wanted()))
