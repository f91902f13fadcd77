"""The broker dies under a game that goes on: what the players see, and how soon events are on NATS again."""

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.to_thread import run_sync as in_thread

from tests.integration.outsider import Outsider, listening_outsider
from tests.integration.players import SECONDS_MAX, Door, JsonPlayer, TextPlayer, types_of
from tests.integration.programs import NatsServer, Server, answers, running_nats_server, running_server, wait_until

SILENCE = "The aether falls silent; you hear only those nearby."
VOICES = "The aether hums again, full of distant voices."

BACK_SECONDS_MAX = 3.0
"""How soon play is on NATS again once the broker is there."""

# Talk faster than anybody types.
LIMITS = """
[limits]
lines_per_second = 1000.0
lines_burst = 10000
linkdead_seconds = 0.3
reads_per_second = 10000.0
reads_burst = 10000
"""


class Talker:
    """Says one number after the other until told to stop; counts them."""

    def __init__(self, player: TextPlayer) -> None:
        self.said = 0
        self._player = player

    async def run(self, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            while True:
                # Shielded for this long: a frame must not be cut in half.
                with trio.CancelScope(shield=True, deadline=trio.current_time() + SECONDS_MAX):
                    await self._player.type(f"say {self.said}")
                    await self._player.see(f"You say: {self.said}")
                self.said += 1
                await trio.sleep(0.005)  # the pace of the talk; nothing waits on it


@asynccontextmanager
async def talking(player: TextPlayer) -> AsyncIterator[Talker]:
    """The player talks while the context lasts."""
    talker = Talker(player)
    async with trio.open_nursery() as nursery:
        scope = await nursery.start(talker.run)
        yield talker
        scope.cancel()


def numbers_in(lines: list[str]) -> list[int]:
    return [int(line.rpartition(" ")[2]) for line in lines if line.startswith("Alice says: ")]


async def see_so_much_more(talker: Talker, player: TextPlayer) -> list[str]:
    """What the player sees until something is heard that was not said yet."""
    return await player.see(f"Alice says: {talker.said + 20}")


async def wait_for_broker(port: int) -> float:
    """When it took connections again, on the monotonic clock."""
    await in_thread(wait_until, lambda: answers(port), "the broker is back")
    return time.monotonic()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config: Path = tmp_path_factory.mktemp("config") / "config.toml"
    config.write_text(LIMITS)
    return config


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, config: Path) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("killed"), "--config", str(config)) as server:
        yield server


async def test_players_stay_and_hear_everything_once_and_in_order_when_the_broker_is_killed(
    server: Server, alice: TextPlayer, bob: TextPlayer, carol: JsonPlayer, outsider: Outsider
) -> None:
    killed = server.program.broker_pid
    seen: list[str] = []
    async with talking(alice) as talker:
        seen += await see_so_much_more(talker, bob)
        os.kill(killed, signal.SIGKILL)
        seen += await bob.see(SILENCE)
        returned_at = await wait_for_broker(port_of(server.nats_url))
        seen += await bob.see(VOICES)
        assert time.monotonic() - returned_at < BACK_SECONDS_MAX
        first_heard_again = await in_thread(
            outsider.hear_event, "chat_message", len([each for each in outsider.heard() if each.at < returned_at])
        )
        assert first_heard_again.at - returned_at < BACK_SECONDS_MAX
        seen += await see_so_much_more(talker, bob)
    last = talker.said - 1
    if last not in numbers_in(seen):
        seen += await bob.see(f"Alice says: {last}")

    assert numbers_in(seen) == list(range(talker.said))
    assert (seen.count(SILENCE), seen.count(VOICES)) == (1, 1)
    heard = await carol.hear("chat_message", message=f"Alice says: {last}")
    said = [each["data"]["message"] for each in heard if each["event_type"] == "chat_message"]
    assert said == [f"Alice says: {number}" for number in range(talker.said)]
    notices = [each["data"]["message"] for each in heard if each["event_type"] == "system_notice"]
    assert notices == [SILENCE, VOICES]
    assert server.program.broker_pid != killed


async def test_comings_and_goings_while_the_broker_is_away_are_seen(
    server: Server, door: Door, alice: TextPlayer, carol: JsonPlayer
) -> None:
    os.kill(server.program.broker_pid, signal.SIGKILL)
    await alice.see(SILENCE)
    dora = await door.text("Dora")
    await dora.type("say hello from the dark", "north", "south", "quit")

    lines = await alice.see("Dora leaves the room.")
    if VOICES not in lines:
        await alice.see(VOICES)
    assert [line for line in lines if line != VOICES] == [
        "Dora enters the room.",
        "Dora says: hello from the dark",
        "Dora leaves the room, heading north.",
        "Dora enters the room from the north.",
        "Dora leaves the room.",
    ]
    await alice.type("say marker")
    heard = types_of(await carol.hear("chat_message", message="Alice says: marker"))
    assert [each for each in heard if each in ("player_entered", "chat_message", "player_left")] == [
        "player_entered",
        "chat_message",
        "player_left",
        "player_entered",
        "player_left",
        "chat_message",
    ]
    if "player_left_game" not in heard:
        await carol.hear("player_left_game", player_name="Dora")


async def test_a_room_that_woke_while_the_broker_was_away_is_subscribed_when_it_is_back(
    server: Server, alice: TextPlayer, bob: TextPlayer, outsider: Outsider
) -> None:
    os.kill(server.program.broker_pid, signal.SIGKILL)
    await alice.see(SILENCE)
    await alice.type("east")
    await alice.see("The Shed")
    await alice.see(VOICES)
    await bob.type("east")
    assert (await alice.see("Bob"))[-1] == "Bob enters the room from the west."
    since = outsider.mark()
    await bob.type("say by way of NATS")

    assert await alice.see("NATS") == ["Bob says: by way of NATS"]
    await in_thread(lambda: outsider.hear_event("chat_message", since, message="Bob says: by way of NATS"))


# --- with a broker of somebody else's, which can stay away for as long as a test likes ------------------------------


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats_server(tmp_path_factory.mktemp("nats")) as nats_server:
        yield nats_server


@pytest.fixture(scope="module")
def guest_server(tmp_path_factory: pytest.TempPathFactory, config: Path, nats_server: NatsServer) -> Iterator[Server]:
    """A server on a NATS that was there before it."""
    options = ("--config", str(config), "--nats-url", nats_server.url)
    with running_server(tmp_path_factory.mktemp("guest"), *options) as server:
        yield server


@pytest.fixture(scope="module")
def guest_outsider(nats_server: NatsServer) -> Iterator[Outsider]:
    with listening_outsider(nats_server.url) as outsider:
        yield outsider


@pytest.fixture
async def guest_door(guest_server: Server, nursery: trio.Nursery) -> AsyncIterator[Door]:
    door = Door(guest_server.port, nursery)
    try:
        yield door
        await door.see_everybody_off()
    finally:
        door.close()


async def test_an_existing_nats_server_carries_the_events(
    guest_server: Server, nats_server: NatsServer, guest_door: Door, guest_outsider: Outsider
) -> None:
    assert guest_server.nats_url == nats_server.url
    assert "lantern" not in guest_server.program.said
    alice, bob = await guest_door.text("Alice"), await guest_door.text("Bob")
    await bob.type("say hello")

    assert (await alice.see("hello")) == ["Bob enters the room.", "Bob says: hello"]
    await in_thread(lambda: guest_outsider.hear_event("chat_message", message="Bob says: hello"))
    assert not (guest_server.program.data_dir / "broker").exists()


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory, nats_server: NatsServer) -> Iterator[Server]:
    """A second server on the same NATS."""
    with running_server(tmp_path_factory.mktemp("other"), "--nats-url", nats_server.url) as server:
        yield server


async def test_two_servers_on_one_nats_are_one_world(
    other_server: Server, guest_door: Door, nursery: trio.Nursery
) -> None:
    other_door = Door(other_server.port, nursery)
    try:
        alice, bob = await guest_door.text("Alice"), await other_door.text("Bob")
        await alice.see("Bob enters the room.")
        await bob.type("say from another machine")
        await bob.see("You say: ")
        assert await alice.see("another machine") == ["Bob says: from another machine"]
        await alice.type("shout so am I", "say here")
        # What is shouted and what is said in the room travel on subjects of their own, in no common order.
        assert sorted([await bob.next_line(), await bob.next_line()]) == [
            "Alice says: here",
            "Alice shouts: so am I",
        ]
        await bob.quit()
        assert await alice.see("Bob leaves") == ["You shout: so am I", "You say: here", "Bob leaves the room."]
    finally:
        other_door.close()


async def test_talk_goes_on_through_a_long_absence_and_nothing_of_it_comes_late(
    nats_server: NatsServer, guest_door: Door, guest_outsider: Outsider
) -> None:
    alice, bob = await guest_door.text("Alice"), await guest_door.text("Bob")
    await alice.see("Bob enters the room.")
    seen: list[str] = []
    async with talking(alice) as talker:
        seen += await see_so_much_more(talker, bob)
        nats_server.kill()
        seen += await bob.see(SILENCE)
        said_at_silence = talker.said
        for _ in range(5):
            seen += await see_so_much_more(talker, bob)
        said_before_return = talker.said
        nats_server.start_again()
        returned_at = time.monotonic()
        seen += await bob.see(VOICES)
        assert time.monotonic() - returned_at < BACK_SECONDS_MAX
        seen += await see_so_much_more(talker, bob)
    last = talker.said - 1
    if last not in numbers_in(seen):
        seen += await bob.see(f"Alice says: {last}")
    await in_thread(lambda: guest_outsider.hear_event("chat_message", message=f"Alice says: {last}"))

    assert numbers_in(seen) == list(range(talker.said))
    assert (seen.count(SILENCE), seen.count(VOICES)) == (1, 1)
    published = {each.content["data"]["message"] for each in guest_outsider.heard() if b"Alice says" in each.payload}
    away = {f"Alice says: {number}" for number in range(said_at_silence, said_before_return)}
    assert not published & away, "what was said while the broker was away was published late"
    assert len(published) < talker.said


async def test_a_broker_that_hangs_is_noticed_and_nothing_is_heard_twice_when_it_goes_on(
    nats_server: NatsServer, guest_door: Door
) -> None:
    alice, bob = await guest_door.text("Alice"), await guest_door.text("Bob")
    await alice.see("Bob enters the room.")
    seen: list[str] = []
    async with talking(alice) as talker:
        seen += await see_so_much_more(talker, bob)
        os.kill(nats_server.process.pid, signal.SIGSTOP)
        try:
            seen += await bob.see(SILENCE)
            seen += await see_so_much_more(talker, bob)
        finally:
            os.kill(nats_server.process.pid, signal.SIGCONT)
        returned_at = time.monotonic()
        seen += await bob.see(VOICES)
        assert time.monotonic() - returned_at < BACK_SECONDS_MAX
        seen += await see_so_much_more(talker, bob)
    last = talker.said - 1
    if last not in numbers_in(seen):
        seen += await bob.see(f"Alice says: {last}")

    assert numbers_in(seen) == list(range(talker.said))
    assert (seen.count(SILENCE), seen.count(VOICES)) == (1, 1)
