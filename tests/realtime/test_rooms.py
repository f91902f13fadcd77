"""The channel of a room: encoded once per dialect, heard from arrival to departure, asleep when nobody is left."""

import json

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mudserver.config import Limits
from mudserver.game.events import (
    ChatMessage,
    Event,
    Everywhere,
    InRoom,
    PlayerEntered,
    PlayerEnteredGame,
    PlayerLeft,
    PlayerLeftGame,
    Pong,
)
from mudserver.game.ids import PlayerId, RoomId
from mudserver.realtime.connection import SLOW
from mudserver.realtime.rooms import BATCH_EVENTS_MAX, COMINGS_GATHER_SECONDS, GlobalChannel, RoomChannel
from mudserver.realtime.screen import Screen
from mudserver.realtime.stamps import Stamps
from mudserver.wire.dialects import JSON, Dialect, text_dialect
from tests.realtime.conftest import Seat

QUAY = RoomId("quay")
LIMITS = Limits()
PLAIN = text_dialect(colour=False, ticks=False)


class House:
    """A room channel and people for it, who sit down as their own arrival passes."""

    def __init__(self, stamps: Stamps, limits: Limits = LIMITS) -> None:
        self._stamps = stamps
        self._screens: dict[PlayerId, Screen] = {}
        self.inside: set[str] = set()
        """Who is in the room by what has been done, whatever has passed."""
        self.channel = RoomChannel(QUAY, self._screens, stamps, limits, lambda player_id, _: player_id in self.inside)
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
    house = House(stamps, Limits(room_events_max=events_max))
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


@pytest.fixture
async def crowd(stamps: Stamps, nursery: trio.Nursery) -> tuple[House, list[Seat]]:
    """Seven people in a room where more than five are a crowd and two are served at once; and their seats."""
    house = House(stamps, Limits(crowd_listeners=5, served_at_once_max=2))
    nursery.start_soon(house.run)
    seats = [house.seat(f"p{n}") for n in range(7)]
    for n in range(7):
        house.enters(f"p{n}")
    await wait_all_tasks_blocked(0.05)
    for seat in seats:
        seat.new()
    return house, seats


def have_heard(words: str, seats: list[Seat]) -> int:
    """How many of them."""
    return sum(any(words in text for text in seat.texts()) for seat in seats)


async def test_a_crowd_is_served_in_steps_and_whatever_comes_between_everybodys_numbers_rise(
    crowd: tuple[House, list[Seat]], nursery: trio.Nursery
) -> None:
    """Seen to fail with all served in one step, and with the same frames for every step."""
    house, seats = crowd
    house.says("stranger", "hello")
    counts = set()
    while (served := have_heard("hello", seats)) < len(seats):
        counts.add(served)
        for seat in seats:
            seat.screen.show(Pong())
        await trio.lowlevel.checkpoint()
    assert counts & {2, 4, 6}
    assert counts <= {0, 2, 4, 6}
    envelopes = [[json.loads(text) for text in seat.new()] for seat in seats]
    for own in envelopes:
        assert sum(each["event_type"] == "chat_message" for each in own) == 1
        numbers = [each["sequence_number"] for each in own]
        assert numbers == sorted(set(numbers))
    nursery.cancel_scope.cancel()


async def test_what_is_delivered_at_once_comes_after_what_a_crowd_is_being_served(
    crowd: tuple[House, list[Seat]], nursery: trio.Nursery
) -> None:
    """Seen to fail with a delivery that forgets one that was begun, and with one that leaves it for later."""
    house, seats = crowd
    house.says("stranger", "first")
    for _ in range(100):
        if have_heard("first", seats):
            break
        await trio.lowlevel.checkpoint()
    assert 0 < have_heard("first", seats) < len(seats)
    house.says("stranger", "second")
    house.channel.deliver_waiting()
    assert [seat.new_events() for seat in seats] == [[("chat_message", "first"), ("chat_message", "second")]] * 7
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


async def test_the_world_at_large_is_heard_from_arrival_to_departure_by_everybody_but_the_actor(
    stamps: Stamps, nursery: trio.Nursery
) -> None:
    """Seen to fail with everybody listening who has a screen when it is delivered."""
    alice, bob = Seat(stamps), Seat(stamps, PLAIN)
    channel = GlobalChannel({PlayerId("alice"): alice.screen, PlayerId("bob"): bob.screen}, stamps, LIMITS)
    nursery.start_soon(channel.run)

    def post(name: str, fact: PlayerEnteredGame | PlayerLeftGame | ChatMessage) -> None:
        channel.post(Event(fact, Everywhere(), PlayerId(name)))
        channel.deliver_soon()

    def shout(name: str, words: str) -> None:
        post(name, ChatMessage(PlayerId(name), name, "shout", words, "m"))

    post("alice", PlayerEnteredGame(PlayerId("alice"), "alice"))
    shout("alice", "before")
    post("bob", PlayerEnteredGame(PlayerId("bob"), "bob"))
    shout("alice", "hi")
    await wait_all_tasks_blocked()
    assert (alice.new_events(), bob.new()) == ([("player_entered_game", None)], ["hi\r\n"])
    shout("bob", "bye")
    post("bob", PlayerLeftGame(PlayerId("bob"), "bob"))
    shout("alice", "after")
    await wait_all_tasks_blocked()
    assert (alice.new_events(), bob.new()) == ([("chat_message", "bye"), ("player_left_game", None)], [])
    nursery.cancel_scope.cancel()


ENTERED = "player_entered"


async def test_comings_before_a_crowd_are_gathered_and_whatever_else_happens_takes_them_along(
    autojump_clock: MockClock, crowd: tuple[House, list[Seat]], nursery: trio.Nursery
) -> None:
    """Seen to fail without the gathering, and with a chat that ends it for ever."""
    house, seats = crowd
    listener = seats[0]
    for first, second in (("late", "later"), ("again", "at last")):
        house.enters(first)
        await trio.sleep(COMINGS_GATHER_SECONDS / 2)
        house.enters(second)
        await trio.sleep(COMINGS_GATHER_SECONDS / 4)
        assert listener.new_events() == []
        await trio.sleep(COMINGS_GATHER_SECONDS / 2)
        writes = len(listener.stream.writes)
        assert [kind for kind, _ in listener.new_events()] == [ENTERED, ENTERED, "room_occupants"]
        house.enters(f"{first} of all")
        house.says("stranger", "hello")
        await wait_all_tasks_blocked()
        assert [kind for kind, _ in listener.new_events()] == [ENTERED, "chat_message", "room_occupants"]
        assert len(listener.stream.writes) == writes + 1
    nursery.cancel_scope.cancel()
