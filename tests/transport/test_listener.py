"""The guard round each connection: whatever goes wrong inside it is nobody else's affair."""

import logging

import pytest
import trio
from trio.testing import memory_stream_pair

from mudserver.errors import HandshakeRefused
from mudserver.transport.listener import ACCEPTED_IN_A_TURN_MAX, bind, guard_connection, serve_connections
from mudserver.transport.stream import PlayerStream, WrappedPlayerStream
from mudserver.transport.turnstile import TURN_SECONDS_MAX, Turnstile
from tests.transport.sockets import CountingTurnstile


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (ValueError("a bug"), logging.ERROR),
        (UnicodeDecodeError("ascii", b"\xff", 0, 1, "bad"), logging.ERROR),
        (HandshakeRefused("no"), logging.INFO),
        (HandshakeRefused("answered 400: no", 400), logging.INFO),
        (HandshakeRefused("answered 200: ok", 200), logging.DEBUG),
        (trio.TooSlowError(), logging.INFO),
        (ExceptionGroup("nursery", [HandshakeRefused("no")]), logging.INFO),
        (ExceptionGroup("nursery", [ExceptionGroup("inner", [ValueError("a bug")])]), logging.ERROR),
    ],
)
async def test_an_error_inside_a_connection_is_one_log_line_and_the_stream_is_closed(
    error: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    client, server = memory_stream_pair()

    async def fail(_stream: PlayerStream, _peer: str) -> None:  # noqa: ASYNC124
        raise error

    with caplog.at_level(logging.DEBUG, logger="mudserver"):
        await guard_connection(fail, WrappedPlayerStream(server), "192.0.2.1")
    assert [(record.levelno, "192.0.2.1" in record.getMessage()) for record in caplog.records] == [(level, True)]
    assert await client.receive_some() == b""


async def test_others_go_on_when_one_connection_fails() -> None:
    done: list[str] = []

    async def handle(_stream: PlayerStream, peer: str) -> None:
        if peer == "bad":
            raise RuntimeError("a bug")
        await trio.testing.wait_all_tasks_blocked()
        done.append(peer)

    async with trio.open_nursery() as connections:
        for peer in ("good", "bad", "fine"):
            connections.start_soon(guard_connection, handle, WrappedPlayerStream(memory_stream_pair()[1]), peer)
    assert sorted(done) == ["fine", "good"]


async def test_a_shutdown_passes_through_and_closes_the_stream() -> None:
    client, server = memory_stream_pair()

    async def visit(_stream: PlayerStream, _peer: str) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as connections:
        connections.start_soon(guard_connection, visit, WrappedPlayerStream(server), "192.0.2.1")
        await trio.testing.wait_all_tasks_blocked()
        connections.cancel_scope.cancel()
    assert await client.receive_some() == b""


async def test_a_bug_beyond_exceptions_is_not_hidden() -> None:
    async def fail(_stream: PlayerStream, _peer: str) -> None:  # noqa: ASYNC124
        raise SystemExit(1)

    with pytest.RaisesGroup(SystemExit, allow_unwrapped=True):
        await guard_connection(fail, WrappedPlayerStream(memory_stream_pair()[1]), "192.0.2.1")


async def test_newcomers_wait_with_the_kernel_while_the_server_is_busy() -> None:
    """Seen to fail without the turn in `_accept`."""
    accepted: list[float] = []

    async def handle(_stream: PlayerStream, _peer: str) -> None:  # noqa: ASYNC124
        accepted.append(trio.current_time())

    async def work() -> None:
        while not accepted:  # noqa: ASYNC110 - to be busy is the point
            await trio.lowlevel.checkpoint()

    listening = bind("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connections, listening, handle, nursery, 10, Turnstile())
        nursery.start_soon(work)
        began = trio.current_time()
        async with await trio.open_tcp_stream(*listening[0].getsockname()) as client:
            assert await client.receive_some() == b""
        nursery.cancel_scope.cancel()
    assert accepted[0] - began >= TURN_SECONDS_MAX


async def test_a_crowd_before_the_door_is_let_in_by_a_few_turns() -> None:
    """Seen to fail with a turn for each of them: on a busy server that is a fiftieth of a second."""
    strangers = 3 * ACCEPTED_IN_A_TURN_MAX
    turnstile = CountingTurnstile()
    listening = bind("127.0.0.1", 0)

    async def handle(_stream: PlayerStream, _peer: str) -> None:
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        clients = [await trio.open_tcp_stream(*listening[0].getsockname()) for _ in range(strangers)]
        nursery.start_soon(serve_connections, listening, handle, nursery, strangers, turnstile)
        for client in clients:
            assert await client.receive_some() == b""
            await client.aclose()
        nursery.cancel_scope.cancel()
    assert turnstile.turns <= 5
