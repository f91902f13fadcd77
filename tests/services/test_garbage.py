"""What a session leaves is freed by reference counts: nothing is left for Python's garbage collector to find.

The server turns the collector off (mudserver.services.garbage), so that a cycle through a session would be a leak.
"""

import gc
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from mudserver.broker.memory import MemoryHub
from mudserver.config import Config, Limits
from mudserver.server import Node
from mudserver.services.garbage import SESSIONS_ENDED_MAX, GarbageKeeper
from mudserver.transport.listener import bind, serve_connections
from tests.faults.raw import close_frame, frame, request
from tests.worlds import small_map

SECONDS_MAX = 5.0
VISITS = 5
LIMITS = Limits(linkdead_seconds=0.05, handshake_seconds_max=0.1)
OVER_SECONDS = 0.4
"""Until the last of a visit is over: of one that dies, the time limits above."""

RESET = struct.pack("ii", 1, 0)


def until(sock: socket.socket, wanted: bytes | None) -> None:
    """Reads until it comes; None: until the server hangs up."""
    heard = b""
    while wanted is None or wanted not in heard:
        some = sock.recv(65536)
        heard += some
        if not some:
            assert wanted is None, heard
            return


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def sign_in(sock: socket.socket) -> None:
    sock.sendall(request())
    until(sock, b"By what name")
    sock.sendall(frame(b"guest"))
    until(sock, b"Exits")


def quit_the_game(sock: socket.socket) -> None:
    sign_in(sock)
    sock.sendall(frame(b"look") + frame(b"quit"))
    until(sock, None)


def hang_up(sock: socket.socket) -> None:
    sign_in(sock)
    sock.sendall(close_frame())
    until(sock, None)


def lose_the_line(sock: socket.socket) -> None:
    sign_in(sock)
    reset(sock)


def break_the_protocol(sock: socket.socket) -> None:
    sign_in(sock)
    sock.sendall(b"\xff" * 20)
    until(sock, None)


def type_too_much(sock: socket.socket) -> None:
    sign_in(sock)
    sock.sendall(frame(b"look") * 100)
    until(sock, None)


def be_no_websocket(sock: socket.socket) -> None:
    sock.sendall(b"GET / HTTP/1.1\r\nHost: mud.test\r\n\r\n")
    until(sock, None)


def be_no_http(sock: socket.socket) -> None:
    sock.sendall(b"\xff" * 200)
    until(sock, None)


def be_too_slow(sock: socket.socket) -> None:
    sock.sendall(b"GET / HT")
    until(sock, None)


def reset_in_the_handshake(sock: socket.socket) -> None:
    sock.sendall(b"GET / HT")
    reset(sock)


@contextmanager
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "visit",
    [
        quit_the_game,
        hang_up,
        lose_the_line,
        break_the_protocol,
        type_too_much,
        be_no_websocket,
        be_no_http,
        be_too_slow,
        reset_in_the_handshake,
    ],
)
async def test_a_session_leaves_nothing_for_the_collector(visit: Callable[[socket.socket], None]) -> None:
    """Seen to fail with a connection that keeps a reference to itself."""
    node = Node(Config(limits=LIMITS), small_map(), MemoryHub().connect(), "n1")
    listening = bind("127.0.0.1", 0)
    address = listening[0].getsockname()

    def come() -> None:
        with socket.create_connection(address, timeout=SECONDS_MAX) as sock:
            visit(sock)

    async with trio.open_nursery() as server, trio.open_nursery() as connections:
        await server.start(node.run)
        connections.start_soon(serve_connections, listening, node.sessions.run_session, connections, 100)
        await trio.to_thread.run_sync(come)  # what is made once and kept
        await trio.sleep(OVER_SECONDS)
        with collector_off():
            for _ in range(VISITS):
                await trio.to_thread.run_sync(come)
            await trio.sleep(OVER_SECONDS)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            gc.set_debug(0)
            left = Counter(type(each).__name__ for each in gc.garbage)
            gc.garbage.clear()
        connections.cancel_scope.cancel()
        server.cancel_scope.cancel()
    # A thread or two of Trio's own may end meanwhile; what a session leaves is there for each visit.
    assert {kind: count for kind, count in left.items() if count >= VISITS} == {}


class Loop:
    """An object that only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


async def test_everything_is_looked_through_after_very_many_sessions(autojump_clock: trio.testing.MockClock) -> None:
    """And not before; Python's own collecting is off meanwhile, and on again afterwards."""
    ended = 0
    keeper = GarbageKeeper(lambda: ended)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await trio.sleep(1)
        assert not gc.isenabled()
        Loop()
        ended = SESSIONS_ENDED_MAX - 1
        await trio.sleep(30)
        assert any(isinstance(each, Loop) for each in gc.get_objects())
        ended = SESSIONS_ENDED_MAX
        await trio.sleep(30)
        assert not any(isinstance(each, Loop) for each in gc.get_objects())
        nursery.cancel_scope.cancel()
    assert gc.isenabled()
