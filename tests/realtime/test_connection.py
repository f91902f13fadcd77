"""The outbox: joined writes, limits, and nobody who waits for a slow reader."""

import sys

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from mudserver.config import Limits
from mudserver.game.events import Event, InRoom, Reply
from mudserver.realtime.connection import QUIT, SHUTDOWN, SLOW, Connection
from mudserver.realtime.screen import Frame, Screen
from mudserver.realtime.stamps import Stamps
from mudserver.transport.stream import SocketPlayerStream, WrappedPlayerStream
from mudserver.wire.dialects import JSON, text_dialect
from mudserver.wire.frames import close_frame, text_frame
from tests.realtime.conftest import RecordingStream, Seat, texts
from tests.transport.sockets import tcp_pair
from tests.wire.facts import QUAY, SAID


async def test_what_is_shown_together_is_one_write(stamps: Stamps) -> None:  # noqa: ASYNC124
    seat = Seat(stamps, text_dialect(colour=False, ticks=False))
    seat.screen.show(Reply("one"), Reply("two"), Reply("three"))
    assert [texts(write) for write in seat.stream.writes] == [["one\r\n", "two\r\n", "three\r\n"]]


async def test_what_piled_up_is_joined_into_one_write(nursery: trio.Nursery) -> None:
    stream = RecordingStream(stuck=True)
    connection = Connection(stream, Limits())
    nursery.start_soon(connection.run_sender)
    connection.offer(b"a")
    connection.flush_nowait()
    await wait_all_tasks_blocked()
    for frame in (b"b", b"c", b"d"):
        connection.offer(frame)
        connection.flush_nowait()
    assert connection.outbox_depth == 3
    stream.let_go()
    await wait_all_tasks_blocked()
    assert stream.writes == [b"a", b"bcd"]
    assert connection.outbox_depth == 0
    nursery.cancel_scope.cancel()


async def test_one_frame_too_many_ends_the_connection_as_slow() -> None:  # noqa: ASYNC124
    connection = Connection(RecordingStream(stuck=True), Limits(outbox_frames_max=3))
    for _ in range(3):
        connection.offer(b"x")
    assert connection.ended is None
    connection.offer(b"x")
    assert connection.ended is SLOW
    assert connection.ended.code == 3008
    assert connection.outbox_depth == 0
    assert connection.scope.cancel_called


async def test_one_byte_too_many_ends_the_connection_as_slow() -> None:  # noqa: ASYNC124
    connection = Connection(RecordingStream(stuck=True), Limits(outbox_bytes_max=1000))
    connection.offer(b"x" * 1000)
    assert connection.ended is None
    connection.offer(b"x")
    assert connection.ended is SLOW


async def test_after_the_end_nothing_more_is_taken_and_the_first_reason_counts() -> None:  # noqa: ASYNC124
    connection = Connection(RecordingStream(stuck=True), Limits())
    connection.offer(b"last words")
    connection.end(QUIT)
    connection.end(SHUTDOWN)
    connection.offer(b"more")
    assert (connection.ended, connection.outbox_depth) == (QUIT, 1)


async def test_a_write_that_takes_five_seconds_ends_the_connection_as_slow(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    connection = Connection(RecordingStream(stuck=True), Limits())
    nursery.start_soon(connection.run_sender)
    connection.offer(b"x")
    connection.flush_nowait()
    await trio.sleep(4.999)
    assert connection.ended is None
    await trio.sleep(0.002)
    assert connection.ended is SLOW


async def test_a_reader_who_is_slow_but_keeps_up_is_never_ended(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Each write takes a second, and there is always one more to make: none of them takes too long."""
    stream = RecordingStream(seconds_per_write=1.0)
    connection = Connection(stream, Limits())
    nursery.start_soon(connection.run_sender)
    for _ in range(60):
        connection.offer(b"x")
        connection.flush_nowait()
        await trio.sleep(0.5)
    assert connection.ended is None
    assert connection.outbox_depth <= 2
    nursery.cancel_scope.cancel()


async def test_finishing_sends_what_waits_while_the_send_task_is_in_the_middle_of_a_write() -> None:
    """Both wait for the stream's lock in turn; neither may wait for the other to be done with it for good."""
    with tcp_pair() as (server, client):
        stream = SocketPlayerStream(server)
        connection = Connection(stream, Limits(outbox_bytes_max=10_000_000))
        got = b""
        big, last, bye = text_frame(b"x" * 300_000), text_frame(b"goodbye"), close_frame(1000, "")

        async def read_all() -> None:
            nonlocal got
            while len(got) < len(big + last + bye):
                await trio.lowlevel.wait_readable(client)
                got += client.recv(65536)

        with trio.move_on_after(2) as patience:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.run_sender)
                connection.offer(big)
                connection.flush_nowait()
                await wait_all_tasks_blocked()
                connection.offer(last)
                async with trio.open_nursery() as both:
                    both.start_soon(connection.finish, bye)
                    await wait_all_tasks_blocked()
                    both.start_soon(read_all)
                nursery.cancel_scope.cancel()
        assert not patience.cancelled_caught
        assert got == big + last + bye


async def test_finishing_over_memory_does_not_spin_with_the_send_task_either() -> None:
    client, server = lockstep_stream_pair()
    connection = Connection(WrappedPlayerStream(server), Limits())
    got: list[bytes] = []

    async def read_all() -> None:
        while sum(map(len, got)) < 200:
            got.append(bytes(await client.receive_some(1000)))
        await client.receive_some(1000)  # lockstep: the last send is done once we come back for more

    with trio.move_on_after(2) as patience:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run_sender)
            connection.offer(b"x" * 100)
            connection.flush_nowait()
            await wait_all_tasks_blocked()
            connection.offer(b"y" * 100)
            async with trio.open_nursery() as both:
                both.start_soon(connection.finish, b"")
                await wait_all_tasks_blocked()
                nursery.start_soon(read_all)
            nursery.cancel_scope.cancel()
    assert not patience.cancelled_caught
    assert b"".join(got) == b"x" * 100 + b"y" * 100


async def test_a_dialect_is_switched_between_one_frame_and_the_next(stamps: Stamps) -> None:  # noqa: ASYNC124
    seat = Seat(stamps, text_dialect(colour=False, ticks=False))
    said = Event(SAID, InRoom(QUAY))
    seat.screen.show(said)
    seat.screen.dialect = text_dialect(colour=True, ticks=False)
    seat.screen.show(said)
    assert seat.new() == ["Alice says: hi\r\n", "\x1b[36mAlice says: hi\x1b[0m\r\n"]


async def test_numbers_rise_by_one_for_each_thing_shown(stamps: Stamps) -> None:  # noqa: ASYNC124
    screen = Screen(Connection(RecordingStream(), Limits()), JSON, stamps, Limits())
    first = stamps.last_number
    screen.show(Reply("a"), Reply("b"))
    assert stamps.last_number == first + 2


@pytest.mark.parametrize("end", [QUIT, SLOW, SHUTDOWN])
async def test_a_close_frame_can_hold_the_reason(end: object) -> None:  # noqa: ASYNC124
    assert len(getattr(end, "reason").encode()) <= 123  # noqa: B009 - RFC 6455, section 5.5


async def test_who_has_missed_too_much_is_told_so_and_costs_nothing_more_meanwhile(stamps: Stamps) -> None:  # noqa: ASYNC124
    """Seen to fail with a history that goes on."""
    limits = Limits(history_frames_max=3)
    seat = Seat(stamps, JSON, limits)
    screen = seat.screen
    screen.show(Reply("seen"))
    screen.detach()
    frames = [Frame(stamps.next_number(), b"a frame of its own %d" % n) for n in range(5)]
    known = []
    for frame in frames:
        screen.send_nowait([frame], frame.data)
        known.append(sum(map(sys.getrefcount, frames)))
    assert [count - known[-1] for count in known] == [1, 2, 3, 0, 0]
    assert not screen.attach(Connection(RecordingStream(), limits), JSON, None)
    screen.detach()
    screen.show(Reply("missed"))
    back = RecordingStream()
    assert screen.attach(Connection(back, limits), JSON, None)
    assert "missed" in texts(b"".join(back.writes))[0]


@pytest.mark.parametrize(("beyond", "is_complete"), [(0, True), (-1, True), (-2, False), (1, False), (10**30, False)])
async def test_a_number_that_was_never_sent_is_no_place_to_go_on_from(  # noqa: ASYNC124
    beyond: int, is_complete: bool, stamps: Stamps
) -> None:
    """Seen to fail with any high number taken for all that there is: what was missed was never mentioned."""
    screen = Seat(stamps, JSON, Limits(history_frames_max=1)).screen
    screen.show(Reply("seen"))
    screen.show(Reply("seen"))
    last = stamps.last_number
    screen.detach()
    assert screen.attach(Connection(RecordingStream(), Limits()), JSON, last + beyond) is is_complete
