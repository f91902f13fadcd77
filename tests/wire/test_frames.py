"""Frames, read back by somebody else's parser (wsproto)."""

import pytest
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import Ping, TextMessage

from mudserver.wire.frames import PING_FRAME, text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_a_frame_is_one_whole_text_message_for_any_client(size: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(text_frame(b"x" * size) + text_frame("grüß".encode()))
    pieces = [event for event in client.events() if isinstance(event, TextMessage)]
    assert "".join(piece.data for piece in pieces[:-1]) == "x" * size
    assert (pieces[-2].message_finished, pieces[-1].data) == (True, "grüß")
    assert client.state is ConnectionState.OPEN


def test_a_ping_is_a_ping() -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(PING_FRAME)
    assert list(client.events()) == [Ping(payload=b"")]
