"""The plain frames of a client are read, all others only followed. The judge is wsproto."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, Ping, Pong, TextMessage

from mudserver.wire.frames import ClientFrames

BYTES_MAX = 4096


def sent(*messages: TextMessage | BytesMessage | Ping | Pong) -> bytes:
    """What wsproto's client writes for these."""
    client = Connection(ConnectionType.CLIENT)
    return b"".join(client.send(each) for each in messages)


def line(text: str) -> bytes:
    return sent(TextMessage(text))


def take(frames: ClientFrames, data: bytes) -> tuple[list[str | bytes], bytes]:
    """The messages that these bytes complete, and what must be followed."""
    frames.feed(data)
    return list(iter(frames.next_message, None)), frames.take_rest()


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 126, 127, 1000, BYTES_MAX])
def test_a_line_of_any_size_is_read(size: int) -> None:
    text = "".join(random.Random(size).choices("abc \x7f", k=size))
    assert take(ClientFrames(BYTES_MAX), line(text)) == ([text], b"")


def test_many_lines_in_one_read_come_in_order_and_pongs_between_them_are_dropped() -> None:
    data = line("näher") + sent(Pong(b"x"), BytesMessage(b"\xff" * 200)) + line("") + sent(Pong()) + line("farther")
    frames = ClientFrames(BYTES_MAX)
    assert take(frames, data) == (["näher", b"\xff" * 200, "", "farther"], b"")
    assert frames.pings == 2


NOT_PLAIN = {
    "a ping": sent(Ping(b"now")),
    "a piece": sent(TextMessage("begun", message_finished=False)),
    "not masked": b"\x81\x05hello",
    "a reserved bit": b"\xc1\x80abcd",
    "a long way to write a small size": b"\x81\xfe\x00\x05abcdhello",
    "a longer way": b"\x81\xff" + (5).to_bytes(8, "big") + b"abcdhello",
    "a pong too long": b"\x8a\xfe\x00\x80abcd" + bytes(128),
    "a close": b"\x88\x80abcd",
    "too big": line("x" * (BYTES_MAX + 1)),
    "too many bytes": sent(BytesMessage(bytes(BYTES_MAX + 1))),
    "no UTF-8": b"\x81\x82\x00\x00\x00\x00\xff\xfe",
    "no opcode": b"\xff",
}


@pytest.mark.parametrize("other", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_is_not_plain_is_left_to_the_library_with_all_that_follows(other: bytes) -> None:
    behind = other + line("two")
    assert take(ClientFrames(BYTES_MAX), line("one") + behind) == (["one"], behind)


def test_nothing_is_read_before_a_message_in_pieces_is_complete() -> None:
    frames = ClientFrames(BYTES_MAX)
    whole = sent(TextMessage("in ", message_finished=False), Ping(b"p"), TextMessage("pieces"))
    for at in range(len(whole) - 1):
        assert take(frames, whole[at : at + 1]) == ([], whole[at : at + 1])
        frames.follow(whole[at : at + 1])
    frames.follow(whole[-1:])
    assert frames.pings == 1
    assert take(frames, line("now")) == (["now"], b"")


def test_pieces_of_one_message_are_counted_and_pings_for_ever() -> None:
    frames = ClientFrames(BYTES_MAX)
    piece = TextMessage("", message_finished=False)
    client = Connection(ConnectionType.CLIENT)
    frames.follow(b"".join(client.send(each) for each in (piece, piece, Ping(), piece)))
    assert (frames.fragments, frames.pings) == (3, 1)
    frames.follow(client.send(TextMessage("end")) + client.send(Ping()))
    assert (frames.fragments, frames.pings) == (0, 2)
    frames.follow(client.send(Pong()) * 3)
    assert frames.pings == 5


MESSAGES = st.one_of(
    st.builds(TextMessage, st.text(max_size=300)),
    st.builds(TextMessage, st.text(max_size=5), message_finished=st.booleans()),
    st.builds(BytesMessage, st.binary(max_size=5)),
    st.builds(Ping, st.binary(max_size=20)),
    st.builds(Pong, st.binary(max_size=20)),
)


@given(st.lists(MESSAGES, max_size=12), st.randoms(use_true_random=False))
@example([TextMessage("a", message_finished=False), Ping(b""), TextMessage("b")], random.Random(1))
def test_in_any_pieces_both_ways_together_say_what_the_library_alone_says(
    messages: list[TextMessage | BytesMessage | Ping | Pong], rnd: random.Random
) -> None:
    data = sent(*_in_order(messages))
    alone = _said(Connection(ConnectionType.SERVER), data)
    frames, library, together = ClientFrames(BYTES_MAX), Connection(ConnectionType.SERVER), list[str | bytes]()
    at = 0
    while at < len(data):
        piece = data[at : at + rnd.randint(1, 40)]
        at += len(piece)
        lines, rest = take(frames, piece)
        together += lines
        frames.follow(rest)
        together += _said(library, rest)
    assert b"".join(map(_as_bytes, together)) == b"".join(map(_as_bytes, alone))


def _in_order(
    messages: list[TextMessage | BytesMessage | Ping | Pong],
) -> Iterator[TextMessage | BytesMessage | Ping | Pong]:
    """Without bytes in the middle of a text."""
    is_whole = True
    for each in messages:
        if is_whole or not isinstance(each, BytesMessage):
            yield each
        if isinstance(each, TextMessage):
            is_whole = each.message_finished


def _said(library: Connection, data: bytes) -> list[str | bytes]:
    library.receive_data(data)
    events = [event for event in library.events() if isinstance(event, TextMessage | BytesMessage)]
    return [event.data if isinstance(event, TextMessage) else bytes(event.data) for event in events]


def _as_bytes(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


@given(st.binary(max_size=200), st.integers(1, 20))
def test_no_bytes_make_it_fail(data: bytes, step: int) -> None:
    frames = ClientFrames(BYTES_MAX)
    for at in range(0, len(data), step):
        _, rest = take(frames, data[at : at + step])
        frames.follow(rest)
