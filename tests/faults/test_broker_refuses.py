"""A broker of somebody else's is restarted, sends its clients away, or lets the game do less, while a room talks."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
from trio.to_thread import run_sync as in_thread

from tests.faults.external_broker import FREE_FOR_ALL, ExternalBroker, Rules, external_broker
from tests.faults.recovery import Note, check_nothing_was_heard_twice, note_recovery, play_is_on_nats_again
from tests.faults.talk import LogBook, Seat, lively_room
from tests.integration.outsider import Outsider, listening_outsider
from tests.integration.players import Door
from tests.integration.programs import Server, running_server

# The shortest lame duck that nats-server lets anybody have: it waits, and then sends one client away each second.
LAME_DUCK = 'lame_duck_duration: "30s"\nlame_duck_grace_period: "200ms"'

OPTIONS = ("--log-format", "json", "--tick-seconds", "0.5")

AWAY_SECONDS = 0.5
"""How long a broker is away that can stay away for as long as a test likes."""

WITHOUT_THE_GAME = ("elsewhere.>", "mud-link.>", "_INBOX.>")
"""What is left to the game's user when `mud.>` is taken away: the heartbeat still goes round."""


class Stand(NamedTuple):
    """A broker, a server on it, and somebody who listens there as a user of their own."""

    broker: ExternalBroker
    server: Server
    outsider: Outsider


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with (
        external_broker(tmp_path_factory.mktemp("broker"), Rules(further=LAME_DUCK)) as broker,
        running_server(tmp_path_factory.mktemp("server"), *OPTIONS, "--nats-url", broker.url) as server,
        listening_outsider(broker.observer_url) as outsider,
    ):
        yield Stand(broker, server, outsider)


@pytest.fixture
def note(record_property: Note) -> Note:
    return record_property


async def test_nobody_misses_a_line_when_the_broker_is_restarted_with_an_empty_store(stand: Stand, note: Note) -> None:
    """The new one knows no subscription and nobody. Seen to fail with subscriptions not made again at a new link: the
    talk is not heard any more once the broker is back.
    """
    broker, server, outsider = stand
    log = LogBook(server.program)
    async with lively_room(server.port) as talk:
        stopped_at = time.monotonic()
        await in_thread(broker.stop)
        silent_at = await talk.silence()
        await talk.go_on()  # among themselves
        await trio.sleep(AWAY_SECONDS)
        back_at = await in_thread(broker.start)
        recovered_at = await play_is_on_nats_again(talk, outsider, back_at)
        await talk.go_on()
    outage = log.the_outage()
    assert outage.handed_out >= 20
    note_recovery(note, "restart", silent_at - stopped_at, recovered_at - back_at)


async def test_players_of_another_node_miss_only_what_was_said_while_the_broker_was_away(
    stand: Stand, tmp_path: Path, note: Note
) -> None:
    """And hear nothing late or twice. Seen to fail with subscriptions not made again at a new link: Gus hears nothing
    more.
    """
    broker, server, outsider = stand
    options = (
        "--log-format",
        "json",
        "--tick-seconds",
        "3600",
        "--nats-url",
        broker.url,
    )  # its own ticks are heard, too
    with running_server(tmp_path, *options) as other_server:
        async with trio.open_nursery() as nursery:
            door = Door(other_server.port, nursery)
            gus = Seat(await door.text("Gus"), lambda: None)
            # His arrival must have passed before there is somebody to see it.
            await in_thread(lambda: outsider.hear_event("player_entered", player_name="Gus"))
            async with trio.open_nursery() as reading:
                reading.start_soon(gus.read)
                async with lively_room(server.port) as talk:
                    before = {seat.name: len(seat.words) - 5 for seat in talk.talkers}
                    await in_thread(broker.kill)
                    await talk.silence()
                    await talk.go_on()
                    back_at = await in_thread(broker.start)
                    await play_is_on_nats_again(talk, outsider, back_at)
                    await talk.go_on()
                    after = {seat.name: len(seat.words) for seat in talk.talkers}
                    await talk.go_on()
                reading.cancel_scope.cancel()
            for speaker in talk.talkers:
                heard, words = gus.heard(speaker.name), speaker.words
                first, last = before[speaker.name], after[speaker.name]
                missed = len(words) - len(heard)
                assert missed > 0, "there is no way round the broker"
                gap = next(n for n, (a, b) in enumerate(zip(heard, words, strict=False)) if a != b)
                assert heard == words[:gap] + words[gap + missed :], "one gap, and everything else in order and once"
                assert first <= gap < gap + missed <= last
                note(f"missed of {speaker.name}", missed)
            await gus.player.quit()
            door.close()


async def test_nobody_misses_a_line_when_the_broker_becomes_a_lame_duck(stand: Stand, note: Note) -> None:
    """It waits, and sends its clients away one by one. Seen to fail with a warning for every attempt to come back."""
    broker, server, outsider = stand
    log = LogBook(server.program)
    async with lively_room(server.port) as talk:
        began_at = time.monotonic()
        await in_thread(broker.begin_lame_duck)
        silent_at = await talk.silence()
        await in_thread(broker.process.wait, 10)
        await talk.go_on()
        back_at = await in_thread(broker.start)
        recovered_at = await play_is_on_nats_again(talk, outsider, back_at)
        await talk.go_on()
    log.the_outage()
    note_recovery(note, "lame duck", silent_at - began_at, recovered_at - back_at)


async def test_nobody_misses_a_line_when_the_broker_refuses_our_password_for_a_while(stand: Stand, note: Note) -> None:
    """Restarted with another password, and again with ours. Seen to fail with a refusal taken for the end of all
    attempts: the server ends.
    """
    broker, server, outsider = stand
    log = LogBook(server.program)
    async with lively_room(server.port) as talk:
        stopped_at = time.monotonic()
        await in_thread(broker.kill)
        await in_thread(lambda: broker.start(password="changed"))
        silent_at = await talk.silence()
        await talk.go_on()
        await trio.sleep(AWAY_SECONDS)
        await in_thread(broker.stop)
        back_at = await in_thread(lambda: broker.start(password="lantern"))
        recovered_at = await play_is_on_nats_again(talk, outsider, back_at)
        await talk.go_on()
    log.the_outage()
    assert "lantern" not in server.program.errors
    note_recovery(note, "password refused", silent_at - stopped_at, recovered_at - back_at)


@pytest.mark.parametrize("taken", ["may_publish", "may_hear", "both"])
async def test_nobody_misses_a_line_when_permission_is_taken_away_for_a_while(
    stand: Stand, note: Note, taken: str
) -> None:
    """To publish, to hear, or both, while the heartbeat still goes round. Seen to fail with `_on_error` doing nothing:
    "connected", and nobody hears anybody.
    """
    broker, server, outsider = stand
    log, since = LogBook(server.program), outsider.mark()
    names = ("may_publish", "may_hear") if taken == "both" else (taken,)
    async with lively_room(server.port) as talk:
        taken_at = time.monotonic()
        await in_thread(lambda: broker.reload(**dict.fromkeys(names, WITHOUT_THE_GAME)))
        silent_at = await talk.silence()
        await talk.go_on()
        await trio.sleep(AWAY_SECONDS)
        back_at = await in_thread(lambda: broker.reload(**dict.fromkeys(names, FREE_FOR_ALL)))
        recovered_at = await play_is_on_nats_again(talk, outsider, back_at)
        await talk.go_on()
    log.the_outage()
    check_nothing_was_heard_twice(outsider, since)
    note_recovery(note, f"permission: {taken}", silent_at - taken_at, recovered_at - back_at)
