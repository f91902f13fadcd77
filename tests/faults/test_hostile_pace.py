"""Clients that are too slow, too fast, or gone without a word."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.faults.attacks import drip
from tests.faults.raw import RawClient, connect, frame, request
from tests.faults.watch import Watch
from tests.faults.witnesses import CAME_AND_LOST_THE_LINE, NEVER_SEEN, OFFENDER, Witnesses

SECONDS_BETWEEN_BYTES = 0.1
"""A hundredth of what the slowest honest client needs; a second of it would take a minute to test."""


async def _says_nothing(client: RawClient) -> None:
    pass


async def _drips_a_request(client: RawClient) -> None:
    await drip(client, request(), SECONDS_BETWEEN_BYTES)


async def _gives_no_name(client: RawClient) -> None:
    await client.shake_hands()


async def _drips_a_name(client: RawClient) -> None:
    await client.shake_hands()
    await drip(client, frame(b"Mallory" * 5), SECONDS_BETWEEN_BYTES)


async def _sends_a_name_in_endless_pieces(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(frame(b"M", is_last=False))
    await drip(client, frame(b"a", 0, is_last=False) * 60, SECONDS_BETWEEN_BYTES)


@pytest.mark.parametrize(
    ("dawdle", "told", "logged"),
    [
        pytest.param(_says_nothing, "nothing", "too slow", id="says nothing"),
        pytest.param(_drips_a_request, "nothing", "too slow", id="sends its request byte by byte"),
        pytest.param(_gives_no_name, "1008 no name given in time", "no name given in time", id="gives no name"),
        pytest.param(_drips_a_name, "1008 no name given in time", "no name given in time", id="types too slowly"),
        pytest.param(
            _sends_a_name_in_endless_pieces, "1008 no name given in time", "no name given in time", id="never finishes"
        ),
    ],
)
async def test_a_stranger_who_dawdles_is_shown_out_in_time(
    dawdle: Callable[[RawClient], Awaitable[None]], told: str, logged: str, watch: Watch, witnesses: Witnesses
) -> None:
    """Fails without `fail_after` in `accept_websocket`, and without the deadline of the sign-in in `Visit.run`."""
    client = await connect(watch.port)
    with client.sock:
        async with witnesses.talking():
            before = trio.current_time()
            await dawdle(client)
            assert await client.read_to_end() == told
            assert trio.current_time() - before < 5.0
    await witnesses.saw(NEVER_SEEN)
    assert logged in await witnesses.one_log_line()


async def test_a_player_whose_machine_went_to_sleep_is_found_out_by_a_ping(watch: Watch, witnesses: Witnesses) -> None:
    """Fails without `run_keepalive`: the player stands there for ever."""
    client = await connect(watch.port)
    with client.sock:
        async with witnesses.talking():
            await client.sign_in(OFFENDER)
            await client.read_to_close_frame()  # reads, but answers nothing
            assert client.told == "3010 no answer to a ping"
            assert b"\x89\x00" in client.received
    await witnesses.saw(CAME_AND_LOST_THE_LINE)
    assert "no answer to a ping" in await witnesses.one_log_line()


async def test_a_player_who_only_answers_pings_is_left_in_peace(watch: Watch, witnesses: Witnesses) -> None:
    """Fails if an answer does not put an end to the waiting for it in `run_keepalive`."""
    client = await connect(watch.port)
    with client.sock:
        async with witnesses.talking():
            await client.sign_in(OFFENDER)
            for pings in (1, 2):
                with trio.fail_after(4):
                    while client.received.count(b"\x89\x00") < pings:
                        assert await client.receive(), client.told
                await client.send(frame(b"", 0xA))
            await client.send(frame(b"quit"))
            assert await client.read_to_end() == "1000 goodbye"


async def test_whoever_types_too_fast_is_warned_and_then_shown_out_and_the_room_hears_what_was_within_the_limit(
    watch: Watch, witnesses: Witnesses
) -> None:
    """Fails without `_is_within_budget` in `Visit`."""
    client = await connect(watch.port)
    with client.sock:
        async with witnesses.talking():
            await client.sign_in(OFFENDER)
            await client.send(b"".join(frame(b"say number %d" % n) for n in range(200)))
            assert await client.read_to_end() == "1008 too many lines"
    answers = [each for each in client.messages if each.startswith(b"You ") and b"You are " not in each]
    allowed = len(answers)
    assert 18 <= allowed <= 22, "a burst of 20, the name was one, and a few more while it lasted"
    assert answers == [b"You say: number %d\r\n" % n for n in range(allowed)]
    warning = b"You are too fast; not everything you sent was done.\r\n"
    assert client.messages.count(warning) == 1
    await watch.settles_players(2)
    await witnesses.talk()
    lines = [b"Mallory says: number %d\r\n" % n for n in range(allowed)]
    assert witnesses.alice_heard() == [b"Mallory enters the room.\r\n", *lines, b"Mallory leaves the room.\r\n"]
    assert "too many lines" in await witnesses.one_log_line()


async def test_a_flood_of_tiny_packets_is_ended(watch: Watch, witnesses: Witnesses) -> None:
    """Fails without the count of reads in `WebSocket._read`."""
    client = await connect(watch.port)
    with client.sock:
        async with witnesses.talking():
            await client.shake_hands()
            for each in frame(b"look at nothing at all, and slowly") * 100:
                await client.send(bytes((each,)))
                await trio.sleep(0.0005)  # each in a packet of its own, which the server reads before the next
                if client.is_deaf:
                    break
            assert await client.read_to_end() in ("1008 too much data", "1008 too many lines", "nothing")
    await witnesses.saw(NEVER_SEEN)
    await witnesses.one_log_line()


async def _nothing_sent(client: RawClient) -> None:
    pass


async def _half_a_head(client: RawClient) -> None:
    await client.send(request()[:40])


async def _a_head(client: RawClient) -> None:
    await client.send(request())


async def _half_a_frame(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(frame(b"Mallory")[:9])


async def _half_a_message(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(frame(b"Mallory", is_last=False))


@pytest.mark.parametrize("how", ["a reset", "an end"])
@pytest.mark.parametrize(
    "come_so_far", [_nothing_sent, _half_a_head, _a_head, _gives_no_name, _half_a_frame, _half_a_message]
)
async def test_a_stranger_whose_line_dies_at_any_stage_leaves_nothing_behind(
    how: str, come_so_far: Callable[[RawClient], Awaitable[None]], watch: Watch, witnesses: Witnesses
) -> None:
    """Fails without the translation of broken streams in `accept_websocket`."""
    async with witnesses.talking():
        for _ in range(5):
            client = await connect(watch.port)
            with client.sock:
                await come_so_far(client)
                if how == "a reset":
                    client.reset()
    await witnesses.saw(NEVER_SEEN)
    lines = witnesses.new_log_lines()
    assert len(lines) <= 5, lines
    assert all("127.0.0.1" in line for line in lines), lines


@pytest.mark.parametrize("last_words", [b"", frame(b"say unfinished")[:9]], ids=["between frames", "inside a frame"])
async def test_a_player_whose_line_is_reset_is_seen_to_lose_it(
    last_words: bytes, watch: Watch, witnesses: Witnesses
) -> None:
    """Fails without `lose_line` in `Visit._part`."""
    client = await connect(watch.port)
    with client.sock:
        async with witnesses.talking():
            await client.sign_in(OFFENDER)
            await client.send(last_words)
            client.reset()
    await witnesses.saw(CAME_AND_LOST_THE_LINE)
    await witnesses.one_log_line()
