"""What a player's client does until the measurement begins: connect, sign in as a guest, walk to a room.

Scripts for `Swarm.run_scripts`, one for each dialect, and the frames players send afterwards.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.frames import client_frame
from benchmarks.progress import Progress
from benchmarks.swarm import Link, Script, Swarm
from benchmarks.world import BenchRoom, BenchWorld

JSON_SUBPROTOCOL: Final = "v1.json.mudserver"
SETTING_OUT_MAX: Final = 32
"""Guests on their way at the same time: enough to keep the server busy, few enough not to crowd the starting room."""
SETUP_SECONDS: Final = 30.0
SETUP_SECONDS_PER_PLAYER: Final = 0.03

_OWN_NAME: Final = re.compile(rb'"player":\{[^{}]*"name":"([^"]+)"')

Route = Sequence[tuple[str, BenchRoom]]


def text_line(line: str) -> bytes:
    """The frame in which a text client sends a line."""
    return client_frame(line.encode() + b"\r\n")


def json_command(command: str, *args: str) -> bytes:
    """The frame in which a JSON client sends a command."""
    message = {"type": "command", "data": {"command": command, "args": args}}
    return client_frame(json.dumps(message, separators=(",", ":")).encode())


def enter_as_text(link: Link, port: int, start: BenchRoom, route: Route) -> Script:
    """A telnet-style client: `guest`, then the route."""
    yield from link.shake_hands(port, None)
    link.send(text_line("guest"))
    yield from link.wait_for(start.name.encode())
    for direction, room in route:
        link.send(text_line(direction))
        yield from link.wait_for(room.name.encode())


def enter_as_json(link: Link, port: int, start: BenchRoom, route: Route) -> Script:
    """A client of the JSON dialect; sets `link.name` to the name it was given."""
    yield from link.shake_hands(port, JSON_SUBPROTOCOL)
    link.send(client_frame(b'{"type":"login","data":{"guest":true}}'))
    seen = yield from link.wait_for(b'"event_type":"room_occupants"')
    if found := _OWN_NAME.search(seen):
        link.name = found[1].decode()
    for direction, room in route:
        link.send(json_command("go", direction))
        yield from link.wait_for(room.name.encode())


def seat_players(
    swarm: Swarm,
    world: BenchWorld,
    room_of: Sequence[int],
    enter: Callable[[Link, int, BenchRoom, Route], Script],
    progress: Progress,
    suite: str,
) -> None:
    """Sign in one guest for each entry of `room_of`, walk it to the room of that number, and wait for quiet.

    Raises BenchError if somebody is refused or dropped, or if it takes too long.
    """

    def script(link: Link, port: int) -> Script:
        return enter(link, port, world.rooms[0], world.route_to(room_of[link.number]))

    count = len(room_of)
    swarm.run_scripts(
        script,
        count,
        in_flight_max=SETTING_OUT_MAX,
        seconds_max=SETUP_SECONDS + count * SETUP_SECONDS_PER_PLAYER,
        each_done=lambda done: progress.say(f"{suite}: {done} of {count} players are in their rooms"),
    )
    swarm.settle()
