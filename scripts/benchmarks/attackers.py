"""Two hundred clients that nobody wants, in a process of their own: `python -m benchmarks.attackers PORT COUNT`.

Each does one thing, is shown the door or leaves, and comes back after a pause to do it again, until standard input is
closed. Says `ready` once all have been at the door, and at the end a JSON object: how often each thing was done.
"""

import asyncio
import json
import os
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from benchmarks.frames import PING, PONG, client_frame, handshake_request

PAUSE_SECONDS: Final = 1.0
"""Between two visits of one attacker: 200 of them make 100 to 200 connections a second."""
VISIT_SECONDS_MAX: Final = 20.0
READ_BYTES: Final = 65536
_CONTINUATION: Final = 0
_EMPTY_FRAGMENTS: Final = 5000


class Visit:
    """One connection of an attacker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.reader = reader
        self.writer = writer
        self._port = port

    async def shake_hands(self, subprotocol: str | None = None) -> None:
        await self.send(handshake_request(self._port, subprotocol))
        await self.reader.readuntil(b"By what name")

    async def sign_in(self) -> None:
        await self.shake_hands()
        await self.send(client_frame(b"guest"))
        await self.reader.readuntil(b"Exits: ")

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_to_end(self) -> None:
        while await self.reader.read(READ_BYTES):
            pass

    def reset(self) -> None:
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def say_nothing(visit: Visit) -> None:
    await visit.read_to_end()


async def drip_bytes(visit: Visit) -> None:
    for each in handshake_request(0):
        await visit.send(bytes((each,)))
        await asyncio.sleep(1)


async def send_garbage(visit: Visit) -> None:
    await visit.send(os.urandom(2000))
    await visit.read_to_end()


async def send_bad_head(visit: Visit) -> None:
    await visit.send(b"GET / HTTP/1.1\r\nHost: \xff\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    await visit.read_to_end()


async def offer_unknown_subprotocol(visit: Visit) -> None:
    await visit.send(handshake_request(0, "v9.cbor.elsewhere"))
    await visit.read_to_end()


async def reset_in_handshake(visit: Visit) -> None:
    await visit.send(handshake_request(0)[: random.randrange(100)])
    visit.reset()


async def give_no_name(visit: Visit) -> None:
    await visit.shake_hands()
    await visit.read_to_end()


async def reset_in_frame(visit: Visit) -> None:
    await visit.sign_in()
    await visit.send(client_frame(b"say half of it")[:9])
    visit.reset()


async def flood_lines(visit: Visit) -> None:
    await visit.sign_in()
    await visit.send(client_frame(b"look") * 500)
    await visit.read_to_end()


async def flood_lines_in_one_frame(visit: Visit) -> None:
    await visit.sign_in()
    await visit.send(client_frame(b"l x\n" * 1000))
    await visit.read_to_end()


async def flood_pings(visit: Visit) -> None:
    await visit.shake_hands()
    await visit.send(client_frame(b"p", PING) * 5000)
    await visit.read_to_end()


async def flood_bytes(visit: Visit) -> None:
    await visit.shake_hands()
    await visit.send(client_frame(b"p" * 125, PONG) * 3000)
    await visit.read_to_end()


async def send_empty_fragments(visit: Visit) -> None:
    await visit.shake_hands()
    fragment = bytearray(client_frame(b"", _CONTINUATION))
    fragment[0] &= 0x7F
    await visit.send(b"\x01" + bytes(client_frame(b""))[1:] + bytes(fragment) * _EMPTY_FRAGMENTS)
    await visit.read_to_end()


async def send_too_big(visit: Visit) -> None:
    await visit.sign_in()
    await visit.send(client_frame(b"say " + b"x" * 100_000))
    await visit.read_to_end()


async def break_protocol(visit: Visit) -> None:
    await visit.sign_in()
    await visit.send(random.choice((b"\xff" * 20, client_frame(b"\xff\xfe"), b"\x81\x05hello")))
    await visit.read_to_end()


async def send_json_bombs(visit: Visit) -> None:
    await visit.shake_hands("v1.json.mudserver")
    bombs = (b"[" * 4000, b'{"type":"login","data":' + b"9" * 4000 + b"}", b'{"type":"login","data":"\\ud800"}')
    await visit.send(b"".join(map(client_frame, bombs * 10)))
    await visit.read_to_end()


async def steer_terminals(visit: Visit) -> None:
    await visit.sign_in()
    for _ in range(15):
        await visit.send(client_frame("say \x1b[2J\x9b\u202e\u200b\x00nothing".encode()))
        await asyncio.sleep(0.2)
    visit.reset()


async def never_read(visit: Visit) -> None:
    await visit.sign_in()
    visit.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(150):
        await visit.send(client_frame(b"help"))
        await asyncio.sleep(0.11)


ATTACKS: Final[tuple[Callable[[Visit], Awaitable[None]], ...]] = (
    say_nothing,
    drip_bytes,
    send_garbage,
    send_bad_head,
    offer_unknown_subprotocol,
    reset_in_handshake,
    give_no_name,
    reset_in_frame,
    flood_lines,
    flood_lines_in_one_frame,
    flood_pings,
    flood_bytes,
    send_empty_fragments,
    send_too_big,
    break_protocol,
    send_json_bombs,
    steer_terminals,
    never_read,
)


async def attack_for_ever(
    port: int, attack: Callable[[Visit], Awaitable[None]], begin_after: float, done: Counter[str]
) -> None:
    await asyncio.sleep(begin_after)
    while True:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(VISIT_SECONDS_MAX):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await attack(Visit(reader, writer, port))
                finally:
                    writer.transport.abort()
        done[attack.__name__] += 1
        await asyncio.sleep(PAUSE_SECONDS)


async def main(port: int, count: int) -> None:
    done: Counter[str] = Counter()
    attackers = [
        asyncio.create_task(attack_for_ever(port, ATTACKS[n % len(ATTACKS)], n / count * PAUSE_SECONDS, done))
        for n in range(count)
    ]
    await asyncio.sleep(PAUSE_SECONDS)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for each in attackers:
        each.cancel()
    await asyncio.gather(*attackers, return_exceptions=True)
    print(json.dumps(done), flush=True)


if __name__ == "__main__":
    # Real attackers have machines of their own; these must not take the cores of those who are measured.
    # Merely niced, they would still finish their slice of some milliseconds before a player's line got the core.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
