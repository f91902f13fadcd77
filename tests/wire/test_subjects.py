"""Subjects and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mudserver.broker.memory import matches
from mudserver.errors import MalformedMessage
from mudserver.game.events import Address, Everywhere, InRoom, ToPlayer
from mudserver.game.ids import PlayerId, RoomId, is_token
from mudserver.wire.envelope import FACT_TYPES
from mudserver.wire.subjects import Subjects

SUBJECTS = Subjects("mud")

tokens = st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")
addresses: st.SearchStrategy[Address] = st.one_of(
    st.just(Everywhere()),
    tokens.map(lambda token: InRoom(RoomId(token))),
    tokens.map(lambda token: ToPlayer(PlayerId(token))),
)


@pytest.mark.parametrize(
    ("to", "subject", "subscription"),
    [
        (InRoom(RoomId("salt-quay")), "mud.room.salt-quay.player_entered", "mud.room.salt-quay.*"),
        (Everywhere(), "mud.global.player_entered", "mud.global.*"),
        (ToPlayer(PlayerId("n1-p1")), "mud.player.n1-p1.player_entered", "mud.player.n1-p1.*"),
    ],
)
def test_each_address_has_the_subject_of_the_design(to: Address, subject: str, subscription: str) -> None:
    assert SUBJECTS.subject(to, "player_entered") == subject
    match to:
        case InRoom(room_id):
            assert SUBJECTS.of_room(room_id) == subscription
        case Everywhere():
            assert SUBJECTS.everywhere == subscription
        case ToPlayer(player_id):
            assert SUBJECTS.of_player(player_id) == subscription
    assert matches(subscription.split("."), subject.split("."))


@given(addresses, st.sampled_from(sorted(FACT_TYPES)))
def test_a_subject_leads_back_to_its_address(to: Address, event_type: str) -> None:
    assert SUBJECTS.parse(SUBJECTS.subject(to, event_type)) == (to, event_type)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "mud",
        "mud.global",
        "mud.global.a.b",
        "other.global.game_tick",
        "mud.room.quay",
        "mud.room.quay.say.twice",
        "mud.room..player_left",
        "mud.room.*.player_left",
        "mud.room.salt quay.player_left",
        "mud.room.quäy.player_left",
        f"mud.room.{'x' * 65}.player_left",
        "mud.player.>.chat_message",
        "mud.nobody.quay.player_left",
    ],
)
def test_what_is_no_subject_of_ours_is_malformed(subject: str) -> None:
    with pytest.raises(MalformedMessage, match="subject"):
        SUBJECTS.parse(subject)


@given(st.text())
def test_no_subject_does_any_harm(subject: str) -> None:
    try:
        to, _ = SUBJECTS.parse(subject)
    except MalformedMessage:
        return
    assert isinstance(to, Everywhere) or is_token(to.room_id if isinstance(to, InRoom) else to.player_id)


@pytest.mark.parametrize("prefix", ["", "a.b", "*", ">", "a b"])
def test_a_prefix_is_one_token(prefix: str) -> None:
    with pytest.raises(ValueError, match="no NATS token"):
        Subjects(prefix)
