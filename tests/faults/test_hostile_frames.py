"""Clients that send frames they must not send, before and after they have a name."""

import pytest

from tests.faults.attacks import BREACHES, FAREWELLS, OFFENCES, Offence
from tests.faults.raw import connect
from tests.faults.watch import Watch
from tests.faults.witnesses import CAME_AND_LEFT, NEVER_SEEN, OFFENDER, Witnesses


def each_of(*offences: Offence) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("offence", offences, ids=[each.name for each in offences])


@each_of(*OFFENCES, *FAREWELLS)
async def test_a_stranger_who_misbehaves_before_giving_a_name_is_never_seen(
    offence: Offence, watch: Watch, witnesses: Witnesses
) -> None:
    """Fails without `except*` in `open_websocket_nursery` (a traceback), and without its cancel (connections stay)."""
    client = await connect(watch.port)
    with client.sock:
        async with witnesses.talking():
            await client.shake_hands()
            await offence.do(client)
            await client.read_to_end()
    await witnesses.saw(NEVER_SEEN)
    await witnesses.one_log_line()


@each_of(*OFFENCES, *BREACHES)
async def test_a_player_who_misbehaves_comes_and_goes_and_that_is_all(
    offence: Offence, watch: Watch, witnesses: Witnesses
) -> None:
    """Fails without the floods' reasons in `LEAVES_AT_ONCE` (the player stands there without a line), and without the
    counts of `WebSocket._read` and `WebSocket._feed_library` (the floods go on).
    """
    client = await connect(watch.port)
    with client.sock:
        async with witnesses.talking():
            await client.sign_in(OFFENDER)
            await offence.do(client)
            await client.read_to_end()
    await witnesses.saw(CAME_AND_LEFT)
    await witnesses.one_log_line()


@each_of(*OFFENCES, *FAREWELLS)
async def test_whoever_is_shown_the_door_is_told_why(offence: Offence, watch: Watch) -> None:
    """Fails without `_say_farewell`."""
    client = await connect(watch.port)
    with client.sock:
        await client.shake_hands()
        await offence.do(client)
        assert await client.read_to_end() == offence.told


@each_of(*BREACHES)
async def test_whoever_breaks_the_protocol_is_told_so(offence: Offence, watch: Watch) -> None:
    """RFC 6455, 7.1.7: who fails a connection says so in a close frame where that is possible."""
    client = await connect(watch.port)
    with client.sock:
        await client.shake_hands()
        await offence.do(client)
        told = await client.read_to_end()
    assert told.split()[0] == offence.told
