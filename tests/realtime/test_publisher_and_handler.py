"""EventPublisher, NATSMessageHandler and ConnectionManager of a running node, over a hub that can be made to fail."""

import json
import logging
from collections import Counter
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from mudserver.broker.base import Message
from mudserver.config import Limits
from mudserver.game.events import ChatMessage, Event, InRoom
from mudserver.game.ids import PlayerId, RoomId
from mudserver.realtime.nats_message_handler import SILENCE, VOICES
from mudserver.transport.turnstile import ERRANDS_SECONDS_MAX
from tests.players import Play, open_play
from tests.realtime.conftest import SeatedPlayer, WatchedHub

SECOND = "2026-11-23T08:31:00Z"


def outsiders_payload(event_type: str, data: dict[str, Any], **metadata: Any) -> bytes:
    return json.dumps(
        {
            "event_type": event_type,
            "timestamp": SECOND,
            "sequence_number": 1,
            "data": data,
            "metadata": {"node": "elsewhere", "schema": 1} | metadata,
        }
    ).encode()


def somebody(player_id: str, room_id: str = "quay") -> dict[str, Any]:
    return {"player_id": player_id, "player_name": "Ithaqua", "room_id": room_id, "room_name": "The Quay"}


@pytest.fixture
async def alice(play: Play) -> SeatedPlayer:
    """In the room with bob; both have seen everything so far. She came first."""
    alice = SeatedPlayer(play, "Alice")
    await play.settle()
    return alice


@pytest.fixture
async def bob(play: Play, alice: SeatedPlayer) -> SeatedPlayer:
    bob = SeatedPlayer(play, "Bob")
    await play.settle()
    alice.new(), bob.new()
    return bob


# --- one way to a screen ------------------------------------------------------------------------------------------


async def test_nobody_sees_anything_that_has_not_come_back_from_the_broker(
    autojump_clock: MockClock, play: Play, hub: WatchedHub, alice: SeatedPlayer, bob: SeatedPlayer
) -> None:
    hub.is_swallowing = True
    for line in ("say hi", "shout hi", "tell bob hi", ":waves", "n", "s"):
        alice.does(line)
    await play.settle()
    assert bob.new() == []
    assert play.node.publisher.awaited == len(hub.swallowed) == 8
    hub.is_swallowing = False
    hub.bring_up()
    await play.settle()
    kinds = Counter(kind for kind, _ in bob.new_events())
    del kinds["room_occupants"]  # one or two, as the comings and goings fell into batches
    assert kinds == {"chat_message": 4, "player_left": 1, "player_entered": 1}
    assert play.node.publisher.awaited == 0


async def test_the_actor_is_answered_at_once_whatever_the_broker_does(  # noqa: ASYNC124
    autojump_clock: MockClock, play: Play, hub: WatchedHub, alice: SeatedPlayer, bob: SeatedPlayer
) -> None:
    hub.is_swallowing = True
    screen = play.node.manager.screen_of(alice.id)
    assert screen.connection is alice.connection
    alice.does("say hi")
    assert json.loads(alice.new()[-1])["data"] == {"result": "You say: hi"}


async def test_a_room_is_subscribed_before_the_arrival_in_it_is_published(
    autojump_clock: MockClock, play: Play, alice: SeatedPlayer
) -> None:
    alice.does("n")
    await play.settle()
    # Her own arrival came back, so she listens: somebody else's words there reach her.
    bob = SeatedPlayer(play, "Bob")
    bob.does("n")
    bob.does("say here I am")
    await play.settle()
    assert ("chat_message", "Bob says: here I am") in alice.new_events()


async def test_strangers_wait_for_what_is_on_its_way_to_players_but_not_for_ever(
    autojump_clock: MockClock, play: Play, hub: WatchedHub, alice: SeatedPlayer, bob: SeatedPlayer
) -> None:
    """Seen to fail without the errands in `Node`, and without the word that all are back in `take_receipt`."""
    turnstile = play.node.sessions.turnstile

    async def seconds_for_a_turn() -> float:
        began = trio.current_time()
        await turnstile.wait_turn()
        return trio.current_time() - began

    assert await seconds_for_a_turn() == 0
    hub.is_swallowing = True
    alice.does("say hi")
    assert await seconds_for_a_turn() == pytest.approx(ERRANDS_SECONDS_MAX)
    hub.is_swallowing = False
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def bring_up_soon() -> None:
            await trio.sleep(ERRANDS_SECONDS_MAX / 4)
            hub.bring_up()

        assert await seconds_for_a_turn() == pytest.approx(ERRANDS_SECONDS_MAX / 4)


async def test_what_cannot_be_written_is_counted_and_what_is_too_large_is_shown_to_this_nodes_players_alone(
    autojump_clock: MockClock, play: Play, alice: SeatedPlayer, bob: SeatedPlayer, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = play.node.publisher
    for message in ("\ud800", "x" * 70_000):
        fact = ChatMessage(alice.id, "Alice", "say", message, "m1")
        publisher.publish(Event(fact, InRoom(RoomId("quay")), actor=alice.id))
    await play.settle()
    assert publisher.failures == 2
    assert publisher.awaited == 0
    assert bob.new_events() == [("chat_message", "x" * 70_000)]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


# --- the link -----------------------------------------------------------------------------------------------------


async def test_a_lost_link_hands_out_exactly_what_has_no_receipt_in_order_and_late_copies_are_dropped(
    autojump_clock: MockClock, play: Play, hub: WatchedHub, alice: SeatedPlayer, bob: SeatedPlayer
) -> None:
    for number in range(3):
        alice.does(f"say {number}")
    await play.settle()
    hub.is_swallowing = True
    for number in range(3, 6):
        alice.does(f"say {number}")
    await play.settle()
    assert [text for _, text in bob.new_events()] == ["Alice says: 0", "Alice says: 1", "Alice says: 2"]
    play.broker.lose_link("killed")
    alice.does("say 6")
    await play.settle()
    alice.does("say 7")
    await play.settle()
    heard = [text for kind, text in bob.new_events() if kind == "chat_message"]
    assert heard == ["Alice says: 3", "Alice says: 4", "Alice says: 5", "Alice says: 6", "Alice says: 7"]
    assert play.node.publisher.handed_out == 5
    hub.is_swallowing = False
    play.broker.restore_link()
    hub.bring_up()
    await play.settle()
    assert play.node.handler.counts["late_copies"] == 3
    alice.does("say 8")
    await play.settle()
    assert [text for kind, text in bob.new_events() if kind == "chat_message"] == ["Alice says: 8"]
    assert play.node.publisher.handed_out == 5


async def test_a_very_long_backlog_is_handed_out_whole_and_in_order(
    autojump_clock: MockClock, play: Play, hub: WatchedHub, alice: SeatedPlayer, bob: SeatedPlayer
) -> None:
    """More than a room's channel holds."""
    hub.is_swallowing = True
    words = [f"number {number}" for number in range(play.node.limits.room_events_max + 200)]
    for each in words:
        alice.does(f"say {each}")
    play.broker.lose_link("killed")
    await play.settle()
    heard = [text for kind, text in bob.new_events() if kind == "chat_message"]
    assert heard == [f"Alice says: {each}" for each in words]


async def test_an_outage_is_announced_once_and_its_end_once(
    autojump_clock: MockClock, play: Play, alice: SeatedPlayer, bob: SeatedPlayer, caplog: pytest.LogCaptureFixture
) -> None:
    play.broker.lose_link("killed")
    play.broker.lose_link("killed again")
    for number in range(5):
        alice.does(f"say {number}")
        await play.settle()
    play.broker.restore_link()
    await play.settle()
    notices = [text for kind, text in bob.new_events() if kind == "system_notice"]
    assert notices == [SILENCE, VOICES]
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "killed" in warnings[0].getMessage()


async def test_people_come_and_go_during_an_outage_and_hear_each_other_after_it(
    autojump_clock: MockClock, play: Play, alice: SeatedPlayer, bob: SeatedPlayer
) -> None:
    play.broker.lose_link("killed")
    await play.settle()
    carol = SeatedPlayer(play, "Carol")
    carol.does("n")
    bob.does("n")
    await play.settle()
    play.broker.restore_link()
    await play.settle()
    alice.new(), bob.new(), carol.new()
    carol.does("say here")
    carol.does("shout hey")
    await play.settle()
    assert {("chat_message", "Carol says: here"), ("chat_message", "Carol shouts: hey")} == set(bob.new_events())
    assert alice.new_events() == [("chat_message", "Carol shouts: hey")]


# --- strangers on the bus -----------------------------------------------------------------------------------------


async def test_an_outsiders_good_event_reaches_the_room(
    autojump_clock: MockClock, play: Play, hub: WatchedHub, alice: SeatedPlayer, bob: SeatedPlayer
) -> None:
    hub.publish_nowait("mud.room.quay.player_entered", outsiders_payload("player_entered", somebody("x-1")))
    await play.settle()
    assert bob.new_events() == [
        ("player_entered", "Ithaqua enters the room."),
        ("room_occupants", ["Alice", "Bob", "Ithaqua"]),
    ]


TICK = {
    "tick_number": 1,
    "server_time": "x",
    "tick_interval": 10.0,
    "mythos_clock": "x",
    "mythos_datetime": "0001-01-01T00:00:00",
    "daypart": "x",
    "is_daytime": True,
}
CHAT = {"sender_id": "x-1", "player_name": "X", "channel": "say", "message": "\x1b[2J", "message_id": "m"}
ENTERED = "mud.room.quay.player_entered"
MALFORMED: dict[str, tuple[str, bytes, str]] = {
    "empty": (ENTERED, b"", "payload"),
    "no JSON": (ENTERED, b"hello", "payload"),
    "deep": (ENTERED, b"[" * 50_000, "payload"),
    "too large": (ENTERED, b" " * 70_000, "size"),
    "schema": (ENTERED, outsiders_payload("player_entered", somebody("x-1"), schema=2), "schema"),
    "another type": ("mud.room.quay.player_left", outsiders_payload("player_entered", somebody("x-1")), "event_type"),
    "unknown type": ("mud.room.quay.boom", outsiders_payload("boom", {}), "event_type"),
    "another room": (ENTERED, outsiders_payload("player_entered", somebody("x-1", "row")), "room"),
    "a field missing": (ENTERED, outsiders_payload("player_entered", {"player_id": "x"}), "data"),
    "escape": ("mud.room.quay.chat_message", outsiders_payload("chat_message", CHAT), "text"),
    "wrong scope": ("mud.global.player_entered", outsiders_payload("player_entered", somebody("x-1")), "scope"),
    "a tick at the edge of time": ("mud.global.game_tick", outsiders_payload("game_tick", TICK), "tick"),
}


def from_elsewhere(to: str, channel: str, words: str) -> Message:
    """Something that somebody on another node said, as it comes over the bus."""
    data = {
        "sender_id": "e-p1",
        "player_name": "Ithaqua",
        "channel": channel,
        "message": words,
        "message_id": "e-m1",
    }
    return Message(f"mud.{to}.chat_message", outsiders_payload("chat_message", data))


def shouted(words: str) -> Message:
    return from_elsewhere("global", "shout", words)


def said(words: str) -> Message:
    return from_elsewhere("room.quay", "say", words)


async def test_what_comes_together_is_written_together_but_in_the_order_in_which_it_came(
    autojump_clock: MockClock, play: Play, alice: SeatedPlayer, bob: SeatedPlayer
) -> None:
    """Seen to fail with a write for each shout, and with nothing delivered before the room speaks again."""
    before = len(bob.stream.writes)
    play.node.handler.receive([said("1"), said("2"), shouted("3"), shouted("4"), shouted("5"), said("6"), said("7")])
    assert [text for _, text in bob.new_events()] == ["1", "2", "3", "4", "5", "6", "7"]
    assert len(bob.stream.writes) == before + 3
    await play.settle()
    assert alice.new_events() == [("chat_message", str(n)) for n in range(1, 8)]


async def test_what_is_too_much_for_one_step_is_served_when_others_have_had_turns_and_not_forgotten(
    autojump_clock: MockClock,
) -> None:
    """Seen to fail with what is left over not asked for, and with what its channel has delivered counted again."""
    async with open_play(limits=Limits(served_at_once_max=1)) as play:
        at_the_quay = [SeatedPlayer(play, name) for name in ("Cora", "Dina")]
        in_the_row = [SeatedPlayer(play, name) for name in ("Emma", "Fred")]
        for each in in_the_row:
            each.does("north")
        await play.settle()
        for each in (*at_the_quay, *in_the_row):
            each.new()
        play.node.handler.receive([said("here"), from_elsewhere("room.row", "say", "there")])
        assert [each.new_events() for each in at_the_quay] == [[("chat_message", "here")]] * 2
        assert [each.new_events() for each in in_the_row] == [[]] * 2
        await play.settle()
        assert [each.new_events() for each in in_the_row] == [[("chat_message", "there")]] * 2
        play.node.handler.receive([said("again")])
        assert [each.new_events() for each in at_the_quay] == [[("chat_message", "again")]] * 2


@pytest.mark.parametrize(("subject", "payload", "reason"), MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_message_reaches_nobody_is_counted_and_stops_nothing(
    autojump_clock: MockClock,
    play: Play,
    hub: WatchedHub,
    alice: SeatedPlayer,
    bob: SeatedPlayer,
    subject: str,
    payload: bytes,
    reason: str,
) -> None:
    hub.publish_nowait(subject, payload)
    await play.settle()
    assert play.node.handler.dropped == {reason: 1}
    assert bob.new() == []
    alice.does("say all is well")
    await play.settle()
    assert bob.new_events() == [("chat_message", "Alice says: all is well")]


@pytest.mark.parametrize("metadata", [{}, {"actor": "x-1"}, {"actor": ""}])
@pytest.mark.parametrize("event_type", ["player_left", "player_entered"])
async def test_what_others_claim_about_our_own_players_is_dropped(
    autojump_clock: MockClock,
    play: Play,
    hub: WatchedHub,
    alice: SeatedPlayer,
    bob: SeatedPlayer,
    event_type: str,
    metadata: dict[str, str],
) -> None:
    hub.publish_nowait(f"mud.room.quay.{event_type}", outsiders_payload(event_type, somebody(bob.id), **metadata))
    await play.settle()
    assert play.node.handler.dropped == {"actor": 1}
    assert alice.new() == []
    alice.does("say do you hear me, Bob?")
    await play.settle()
    assert bob.new_events() == [("chat_message", "Alice says: do you hear me, Bob?")]


@pytest.mark.parametrize("metadata", [{}, {"actor": "x-1"}])
async def test_nobody_speaks_with_the_voice_of_our_own_players(
    autojump_clock: MockClock,
    play: Play,
    hub: WatchedHub,
    alice: SeatedPlayer,
    bob: SeatedPlayer,
    metadata: dict[str, str],
) -> None:
    data = CHAT | {"sender_id": bob.id, "player_name": "Bob", "message": "Bob says: I am a fool"}
    hub.publish_nowait("mud.room.quay.chat_message", outsiders_payload("chat_message", data, **metadata))
    await play.settle()
    assert alice.new() == []
    assert play.node.handler.dropped == {"actor": 1}


# --- sleep --------------------------------------------------------------------------------------------------------


async def test_an_empty_room_is_unsubscribed_after_its_linger_and_woken_again(
    autojump_clock: MockClock, play: Play, hub: WatchedHub, alice: SeatedPlayer, bob: SeatedPlayer
) -> None:
    alice.does("n")
    bob.does("n")
    await play.settle()
    rooms = play.node.audience.rooms
    await trio.sleep(29.9)
    assert set(rooms) == {"quay", "row"}
    await trio.sleep(0.2)
    assert set(rooms) == {"row"}
    received = play.node.handler.counts["received"]
    hub.publish_nowait(ENTERED, outsiders_payload("player_entered", somebody("x-1")))
    await play.settle()
    assert play.node.handler.counts["received"] == received
    alice.does("s")
    bob.does("s")
    alice.does("say back again")
    await play.settle()
    assert ("chat_message", "Alice says: back again") in bob.new_events()


async def test_a_player_who_left_is_no_longer_listened_for(
    autojump_clock: MockClock, play: Play, hub: WatchedHub, alice: SeatedPlayer, bob: SeatedPlayer
) -> None:
    play.node.manager.sign_out(bob.id)
    await play.settle()
    received = play.node.handler.counts["received"]
    tell = CHAT | {"channel": "tell", "message": "psst"}
    hub.publish_nowait(f"mud.player.{bob.id}.chat_message", outsiders_payload("chat_message", tell))
    hub.publish_nowait(f"mud.player.{alice.id}.chat_message", outsiders_payload("chat_message", tell))
    await play.settle()
    assert play.node.handler.counts["received"] == received + 1
    assert ("chat_message", "psst") in alice.new_events()


# --- the payload, as an independent subscriber sees it ------------------------------------------------------------


async def test_subjects_and_payloads_on_the_bus_are_those_of_the_design(  # noqa: ASYNC124
    autojump_clock: MockClock, play: Play, hub: WatchedHub, alice: SeatedPlayer
) -> None:
    alice.does("n")
    play.node.manager.sign_out(PlayerId(alice.id))
    assert [subject for subject, _ in hub.seen] == [
        "mud.global.player_entered_game",
        "mud.room.quay.player_entered",
        "mud.room.quay.player_left",
        "mud.room.row.player_entered",
        "mud.room.row.player_left",
        "mud.global.player_left_game",
    ]
    payload = json.loads(hub.seen[2][1])
    assert payload["data"] == {
        "player_id": alice.id,
        "player_name": "Alice",
        "room_id": "quay",
        "room_name": "The Quay",
    }
    assert payload["metadata"] == {"node": "n1", "schema": 1, "actor": alice.id, "via": "north"}
    numbers = [json.loads(payload)["sequence_number"] for _, payload in hub.seen]
    assert numbers == sorted(set(numbers))
