"""The channel of a room: encoded once per dialect, heard from arrival to departure, asleep when nobody is left."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mudserver.game.events import ChatMessage, Event, InRoom, PlayerEntered, PlayerLeft
from mudserver.game.ids import PlayerId, RoomId
from mudserver.realtime.connection import SLOW
from mudserver.realtime.rooms import BATCH_EVENTS_MAX, GlobalChannel, RoomChannel
from mudserver.realtime.screen import Screen
from mudserver.realtime.stamps import Stamps
from mudserver.wire.dialects import JSON, Dialect, text_dialect
from tests.realtime.conftest import Seat

QUAY = RoomId("quay")
PLAIN = text_dialect(colour=False, ticks=False)


class House:
    """A room channel and people for it, who sit down as their own arrival passes."""

    def __init__(self, stamps: Stamps, events_max: int = 1024) -> None:
        self._stamps = stamps
        self._screens: dict[PlayerId, Screen] = {}
        self.inside: set[str] = set()
        """Who is in the room by what has been done, whatever has passed."""
        self.channel = RoomChannel(
            QUAY, self._screens, stamps, events_max, lambda player_id, _: player_id in self.inside
        )
        self.inhabited = False

    def seat(self, name: str, dialect: Dialect = JSON) -> Seat:
        seat = Seat(self._stamps, dialect)
        self._screens[PlayerId(name)] = seat.screen
        return seat

    def enters(self, name: str) -> None:
        self._post(PlayerEntered(PlayerId(name), name, QUAY, "The Quay"), name)

    def leaves(self, name: str) -> None:
        self._post(PlayerLeft(PlayerId(name), name, QUAY, "The Quay"), name)

    def says(self, name: str, words: str) -> None:
        self._post(ChatMessage(PlayerId(name), name, "say", words, "m"), name)

    def _post(self, fact: PlayerEntered | PlayerLeft | ChatMessage, name: str) -> None:
        self.channel.post(Event(fact, InRoom(QUAY), actor=PlayerId(name)))
        self.channel.deliver_soon()

    async def run(self) -> None:
        await self.channel.run_until_asleep(30.0, lambda room_id: self.inhabited)


@pytest.fixture
async def house(stamps: Stamps, nursery: trio.Nursery) -> House:
    house = House(stamps)
    nursery.start_soon(house.run)
    await wait_all_tasks_blocked()
    return house


async def test_an_event_is_encoded_once_for_each_dialect_and_all_get_the_same_bytes(
    house: House, stamps: Stamps, nursery: trio.Nursery
) -> None:
    seats = [house.seat(f"json{n}") for n in range(3)] + [house.seat(f"text{n}", PLAIN) for n in range(3)]
    for name in ("json0", "text0", "json1", "text1", "json2", "text2"):
        house.enters(name)
    await wait_all_tasks_blocked()
    before, writes = stamps.last_number, [len(seat.stream.writes) for seat in seats]
    house.says("stranger", "hello")
    await wait_all_tasks_blocked()
    assert stamps.last_number == before + 2
    assert [len(seat.stream.writes) for seat in seats] == [count + 1 for count in writes]
    last = [seat.stream.writes[-1] for seat in seats]
    assert all(frame is last[0] for frame in last[:3])
    assert all(frame is last[3] for frame in last[3:])
    nursery.cancel_scope.cancel()


async def test_a_player_listens_from_their_own_arrival_to_their_own_departure(
    house: House, nursery: trio.Nursery
) -> None:
    alice = house.seat("alice")
    house.says("bob", "before")
    house.enters("alice")
    house.says("bob", "during")
    house.says("alice", "my own")
    house.leaves("alice")
    house.says("bob", "after")
    await wait_all_tasks_blocked()
    assert alice.new_events() == [("chat_message", "during")]
    nursery.cancel_scope.cancel()


async def test_after_a_batch_of_comings_and_goings_there_is_one_list_for_those_who_saw_others(
    house: House, nursery: trio.Nursery
) -> None:
    alice, bob = house.seat("alice"), house.seat("bob")
    house.enters("alice")
    await wait_all_tasks_blocked()
    assert alice.new_events() == []  # alone, and her own arrival is no news to her
    for name in ("bob", "carol", "dave"):
        house.enters(name)
    house.leaves("carol")
    await wait_all_tasks_blocked()
    assert [kind for kind, _ in alice.new_events()] == ["player_entered"] * 3 + ["player_left", "room_occupants"]
    assert bob.new_events() == [
        ("player_entered", "carol enters the room."),
        ("player_entered", "dave enters the room."),
        ("player_left", "carol leaves the room."),
        ("room_occupants", ["alice", "bob", "dave"]),
    ]
    nursery.cancel_scope.cancel()


async def test_a_leaver_gets_no_list_of_the_room_they_left(house: House, nursery: trio.Nursery) -> None:
    alice, bob = house.seat("alice"), house.seat("bob")
    house.enters("alice")
    house.enters("bob")
    await wait_all_tasks_blocked()
    alice.new(), bob.new()
    house.leaves("bob")
    await wait_all_tasks_blocked()
    assert bob.new_events() == []
    assert alice.new_events() == [("player_left", "bob leaves the room."), ("room_occupants", ["alice"])]
    nursery.cancel_scope.cancel()


async def test_who_is_back_before_their_departure_has_passed_gets_a_fresh_list(
    house: House, nursery: trio.Nursery
) -> None:
    """They saw the room as they came back, and after that a list from before they left. Seen to fail without it."""
    alice = house.seat("alice")
    for name in ("alice", "bob"):
        house.enters(name)
    await wait_all_tasks_blocked()
    alice.new()
    house.inside.add("alice")
    house.enters("carol")
    await wait_all_tasks_blocked()
    assert alice.new_events()[-1] == ("room_occupants", ["alice", "bob", "carol"])
    house.leaves("alice")
    house.leaves("carol")
    house.enters("alice")
    await wait_all_tasks_blocked()
    assert alice.new_events() == [("room_occupants", ["bob", "alice"])]
    house.inside.clear()
    house.leaves("alice")
    house.enters("alice")
    await wait_all_tasks_blocked()
    assert alice.new_events() == []
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("events_max", [1, 5, 1024])
async def test_a_full_channel_loses_nothing_and_keeps_the_order(
    stamps: Stamps, nursery: trio.Nursery, events_max: int
) -> None:
    house = House(stamps, events_max)
    nursery.start_soon(house.run)
    alice = house.seat("alice")
    house.enters("alice")
    await wait_all_tasks_blocked()  # the channel's task waits for the next event
    words = [f"number {number}" for number in range(events_max + BATCH_EVENTS_MAX + 20)]
    for each in words:
        house.says("bob", each)
    await wait_all_tasks_blocked()
    assert [message for kind, message in alice.new_events() if kind == "chat_message"] == words
    nursery.cancel_scope.cancel()


async def test_somebody_who_is_too_slow_costs_the_others_nothing(house: House, nursery: trio.Nursery) -> None:
    alice, sloth = house.seat("alice"), house.seat("sloth")
    house.enters("alice")
    house.enters("sloth")
    await wait_all_tasks_blocked()
    alice.new()
    sloth.connection.end(SLOW)
    house.says("bob", "still here?")
    await wait_all_tasks_blocked()
    assert alice.new_events() == [("chat_message", "still here?")]
    nursery.cancel_scope.cancel()


async def test_a_room_falls_asleep_thirty_seconds_after_its_last_listener_went(
    autojump_clock: MockClock, stamps: Stamps
) -> None:
    house = House(stamps)
    house.seat("alice")
    house.enters("alice")
    asleep_at = 0.0

    async def run() -> None:
        nonlocal asleep_at
        await house.run()
        asleep_at = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(100)
        assert asleep_at == 0.0
        house.leaves("alice")
    assert asleep_at == 130.0


async def test_a_room_with_somebody_on_the_way_in_stays_awake(autojump_clock: MockClock, stamps: Stamps) -> None:
    house = House(stamps)
    house.inhabited = True
    with trio.move_on_after(100) as waiting:
        await house.run()
    assert waiting.cancelled_caught
    house.inhabited = False
    await house.run()
    assert trio.current_time() == 130.0


async def test_the_world_at_large_is_heard_by_everybody_but_the_actor(stamps: Stamps, nursery: trio.Nursery) -> None:
    alice, bob = Seat(stamps), Seat(stamps, PLAIN)
    channel = GlobalChannel({PlayerId("alice"): alice.screen, PlayerId("bob"): bob.screen}, stamps, 10)
    nursery.start_soon(channel.run)
    channel.post(
        Event(
            ChatMessage(PlayerId("alice"), "alice", "shout", "alice shouts: hi", "m"), InRoom(QUAY), PlayerId("alice")
        )
    )
    channel.deliver_soon()
    await wait_all_tasks_blocked()
    assert (alice.new(), bob.new()) == ([], ["alice shouts: hi\r\n"])
    nursery.cancel_scope.cancel()
