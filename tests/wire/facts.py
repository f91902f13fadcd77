"""Facts and events for tests of the codecs."""

from hypothesis import strategies as st

from mudserver.game import events as e
from mudserver.game.ids import Direction, PlayerId, RoomId

ALICE = PlayerId("n1-p1")
QUAY = RoomId("quay")

ENTERED = e.PlayerEntered(ALICE, "Alice", QUAY, "The Quay")
LEFT = e.PlayerLeft(ALICE, "Alice", QUAY, "The Quay")
LINKDEAD = e.PlayerLinkdead(ALICE, "Alice", QUAY, "The Quay")
RETURNED = e.PlayerReturned(ALICE, "Alice", QUAY, "The Quay")
ENTERED_GAME = e.PlayerEnteredGame(ALICE, "Alice")
LEFT_GAME = e.PlayerLeftGame(ALICE, "Alice")
SAID = e.ChatMessage(ALICE, "Alice", "say", "Alice says: hi", "n1-m1")
TICK = e.GameTick(7, "2026-11-23T08:31:00.000Z", 10.0, "17:14", "1911-10-27T17:14:00", "day", True)

tokens = st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")
words = st.text(st.characters(exclude_categories=("C", "Z")), max_size=50)
names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=64)
player_ids = tokens.map(PlayerId)
room_ids = tokens.map(RoomId)


@st.composite
def events(draw: st.DrawFn) -> e.Event:
    """Any event that a node may publish."""
    player_id, name, room_id = draw(player_ids), draw(names), draw(room_ids)
    in_room, to_player = e.InRoom(room_id), e.ToPlayer(draw(player_ids))
    text, message_id = draw(words), draw(tokens)
    choices: list[tuple[e.AnyFact, e.Address]] = [
        (e.PlayerEntered(player_id, name, room_id, text), in_room),
        (e.PlayerLeft(player_id, name, room_id, text), in_room),
        (e.PlayerLinkdead(player_id, name, room_id, text), in_room),
        (e.PlayerReturned(player_id, name, room_id, text), in_room),
        (e.PlayerEnteredGame(player_id, name), e.Everywhere()),
        (e.PlayerLeftGame(player_id, name), e.Everywhere()),
        (e.ChatMessage(player_id, name, draw(st.sampled_from(["say", "emote"])), text, message_id), in_room),
        (e.ChatMessage(player_id, name, "shout", text, message_id), e.Everywhere()),
        (e.ChatMessage(player_id, name, "tell", text, message_id), to_player),
    ]
    fact, to = draw(st.sampled_from(choices))
    return e.Event(fact, to, actor=player_id, via=draw(st.none() | st.sampled_from(list(Direction))))
