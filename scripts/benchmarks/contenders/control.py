"""What every contender shares: its arguments, its answers to the driver, and the message it broadcasts."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Final

MESSAGE_BYTES: Final = 250
MESSAGE: Final = (
    '{"event_type":"chat_message","timestamp":"2026-11-23T08:31:00Z","sequence_number":1234567,"data":'
    '{"sender_id":"p-42","player_name":"Ithaqua","message":"Ithaqua says: the stars are right"},"room_id":"r-17"}'
).ljust(MESSAGE_BYTES)
assert len(MESSAGE.encode()) == MESSAGE_BYTES

HANDSHAKES_WAITING_MAX: Final = 4096
"""Listen backlog: above what the driver ever has in flight, so that no SYN is dropped and retried a second later."""


def connections_wanted() -> int:
    """The number of connections after which to call `announce_full`, from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("connections", type=int)
    return int(parser.parse_args().connections)


def announce_port(port: int) -> None:
    """Tell the driver where to connect."""
    print(f"port {port}", flush=True)


def announce_full() -> None:
    """Tell the driver that every connection it asked for would now get a broadcast."""
    print("full", flush=True)


class Attendance:
    """Counts connections as they become ready and calls `announce_full` at the last one."""

    def __init__(self, wanted: int) -> None:
        self._missing = wanted

    def one_more(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            announce_full()


def bursts_blocking() -> Iterator[int]:
    """The driver's orders, for a program without an event loop: how many messages to send to everybody now."""
    for line in sys.stdin:
        yield int(line)


async def bursts_asyncio() -> AsyncIterator[int]:
    """The driver's orders, for a program on asyncio (uvloop too)."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield int(line)


async def bursts_trio() -> AsyncIterator[int]:
    """The driver's orders, for a program on Trio."""
    import trio

    waiting = b""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        async for some in stdin:
            *lines, waiting = (waiting + some).split(b"\n")
            for line in lines:
                yield int(line)
