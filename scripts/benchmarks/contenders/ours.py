"""mudserver's own write path: event → RoomChannel → screens → outboxes → sockets, behind its real accept loop.

The event is encoded by the text dialect as part of the measurement; only rules and NATS are left out.
"""

import time
from itertools import count

import trio

from benchmarks.contenders import control
from benchmarks.frames import server_text_frame
from mudserver.config import Limits
from mudserver.errors import ConnectionEnded
from mudserver.game.events import ChatMessage, Event, InRoom, PlayerEntered
from mudserver.game.ids import PlayerId, RoomId
from mudserver.realtime.connection import Connection
from mudserver.realtime.rooms import RoomChannel
from mudserver.realtime.screen import Screen
from mudserver.realtime.stamps import Stamps
from mudserver.transport.listener import bind, serve_connections
from mudserver.transport.stream import PlayerStream
from mudserver.transport.turnstile import Turnstile
from mudserver.transport.websocket import accept_websocket
from mudserver.wire.dialects import encode, text_dialect

ROOM = RoomId("bench-0")
DIALECT = text_dialect(colour=False, ticks=False)
WORDS = "Ithaqua says: " + "the stars are right and yet " * control.MESSAGE_BYTES


def event_to_send() -> Event:
    """Something said that is exactly as long on the wire as the other contenders' message."""
    frame_bytes = len(server_text_frame(control.MESSAGE.encode()))
    for length in range(control.MESSAGE_BYTES):
        said = ChatMessage(PlayerId("somebody-else"), "Ithaqua", "say", WORDS[:length], "m-1")
        event = Event(said, InRoom(ROOM))
        if len(encode(DIALECT, event, 0, "") or b"") == frame_bytes:
            return event
    raise AssertionError("no line of text becomes a frame of that size")


async def run(wanted: int) -> None:
    limits = Limits()
    stamps = Stamps(time.time)
    turnstile = Turnstile()
    attendance = control.Attendance(wanted)
    screens: dict[PlayerId, Screen] = {}
    room = RoomChannel(ROOM, screens, stamps, limits)
    numbers = count()

    async def visit(stream: PlayerStream, _peer: str) -> None:
        async with trio.open_nursery() as nursery:
            websocket = await accept_websocket(nursery, stream, lambda offered: None, limits, turnstile)
            connection = Connection(stream, limits)
            nursery.start_soon(connection.run_sender)
            player = PlayerId(f"p-{next(numbers)}")
            screens[player] = Screen(connection, DIALECT, stamps, limits)
            room.post(Event(PlayerEntered(player, player, ROOM, "the bench"), InRoom(ROOM), actor=player))
            room.deliver_soon()
            attendance.one_more()
            with connection.scope:
                try:
                    while True:
                        await websocket.receive()
                except ConnectionEnded:
                    del screens[player]
            nursery.cancel_scope.cancel()

    event = event_to_send()
    listening = bind("127.0.0.1", 0)
    control.announce_port(listening[0].getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.run_until_asleep, float("inf"), lambda _room: True)
        nursery.start_soon(serve_connections, listening, visit, nursery, limits.connections_max)
        async for burst in control.bursts_trio():
            for _ in range(burst):
                room.post(event)
            room.deliver_soon()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run, control.connections_wanted())
