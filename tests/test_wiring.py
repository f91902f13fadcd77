"""Each of the four classes is reached by the running server: a short scene that fails when one is cut out.

The event design this follows was once built and tested with mocks, and never wired: nothing noticed.
"""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from mudserver.game.events import Event
from tests.players import Play


async def scene(play: Play) -> None:
    """Two people meet and a tick passes. Every effect comes by way of the broker, and the counters say so."""
    node = play.node
    alice = await play.text_player("Alice")
    jane = await play.json_player("Jane")
    await alice.hears("Jane enters the room.")
    before = node.handler.counts["own"]
    await alice.send("say hello")
    await jane.hears("chat_message", message="Alice says: hello")
    await alice.send("north")
    await jane.hears("player_left", player_name="Alice")
    await trio.sleep(10)
    await jane.hears("game_tick", tick_number=1)
    await play.settle()

    # EventPublisher: everything that happened went through it, to the broker.
    assert node.publisher.published == {
        "player_entered_game": 2,
        "player_entered": 3,
        "chat_message": 1,
        "player_left": 1,
        "game_tick": 1,
    }
    assert node.publisher.handed_out == 0
    assert play.hub.messages == 8
    # NATSMessageHandler: all of it came back in, and only then was shown.
    assert node.handler.counts["own"] == 8
    assert node.handler.counts["own"] - before == 4
    assert node.publisher.awaited == 0
    # GameTickService: it ticks, and the world's clock with it.
    assert node.ticks.tick_number == 1
    assert node.world.time.clock == "17:02"
    # ConnectionManager: it knows who is here, and where.
    assert {player.name: player.room_id for player in node.world.players.values()} == {"Alice": "row", "Jane": "quay"}


async def test_all_four_classes_carry_the_traffic_of_a_running_node(autojump_clock: MockClock, play: Play) -> None:
    await scene(play)


def cut_publisher(play: Play, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(play.node.publisher, "publish", lambda event: None)


def bypass_publisher(play: Play, patch: pytest.MonkeyPatch) -> None:
    """The original's way: the event is shown at once, and nothing goes by NATS."""
    patch.setattr(play.node.publisher, "publish", play.node.publisher._hand_out)


def publish_and_broadcast(play: Play, patch: pytest.MonkeyPatch) -> None:
    """The original's other way: both."""
    publish = play.node.publisher.publish

    def twice(event: Event) -> None:
        publish(event)
        play.node.publisher._hand_out(event)

    patch.setattr(play.node.publisher, "publish", twice)
    # Only a count of what was seen tells: see test_nothing_is_shown_twice.
    patch.setattr(play.node.publisher, "take_receipt", lambda number: None)


def cut_handler(play: Play, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(play.node.handler, "_receive", lambda subject, payload: None)


def cut_subscriptions(play: Play, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(play.broker, "_subscriptions", {})
    patch.setattr(play.broker, "subscribe_nowait", lambda subject: None)


def cut_ticks(play: Play, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(play.node.ticks, "_tick", lambda: None)


def cut_manager(play: Play, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(play.node.manager, "perform", lambda *_arguments: None)


CUTS = [cut_publisher, bypass_publisher, publish_and_broadcast, cut_handler, cut_subscriptions, cut_ticks, cut_manager]


@pytest.mark.parametrize("cut", CUTS)
async def test_the_scene_fails_when_a_part_is_cut_out(
    autojump_clock: MockClock,
    play: Play,
    monkeypatch: pytest.MonkeyPatch,
    cut: Callable[[Play, pytest.MonkeyPatch], None],
) -> None:
    cut(play, monkeypatch)
    with pytest.raises(AssertionError):
        await scene(play)
