"""Clients that are not ours: the `websockets` package, its command line, and plain HTTP."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.integration.players import JSON_SUBPROTOCOL, SECONDS_MAX
from tests.integration.programs import Server


@contextmanager
def client(server: Server, *subprotocols: str) -> Iterator[ClientConnection]:
    offered = [Subprotocol(each) for each in subprotocols] or None
    with connect(server.url, subprotocols=offered, open_timeout=SECONDS_MAX, close_timeout=SECONDS_MAX) as websocket:
        yield websocket


def read_until(websocket: ClientConnection, text: str) -> str:
    """Everything up to the frame that holds `text`."""
    read = ""
    while text not in read:
        read += str(websocket.recv(SECONDS_MAX))
    return read


def test_a_text_and_a_json_client_of_the_websockets_package_meet(server: Server) -> None:
    with client(server) as dora, client(server, JSON_SUBPROTOCOL) as emil:
        dora.send("Dora")
        read_until(dora, "Exits:")
        assert emil.subprotocol == JSON_SUBPROTOCOL
        emil.send(json.dumps({"type": "login", "data": {"name": "Emil"}}))
        read_until(emil, "room_occupants")
        assert "Emil enters the room.\r\n" in read_until(dora, "Emil")
        dora.send("say good evening")
        assert '"message":"Dora says: good evening"' in read_until(emil, "good evening")
        emil.send(json.dumps({"type": "command", "data": {"command": "quit"}}))
        with pytest.raises(ConnectionClosed) as closed:
            read_until(emil, "never")
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "goodbye")
        assert "Emil leaves the room.\r\n" in read_until(dora, "leaves")


def test_a_binary_frame_of_text_is_read_like_any_other(server: Server) -> None:
    with client(server) as dora:
        dora.send(b"Dora\nsay caf\xc3\xa9\n")
        read = read_until(dora, "You say: ")
        assert "You say: café\r\n" in read


def test_a_client_that_says_goodbye_is_answered_and_its_name_is_free_again(server: Server) -> None:
    for _ in range(2):
        with client(server) as dora:
            dora.send("Dora")
            read_until(dora, "You are Dora.")
            dora.send("shout leaving")
            read_until(dora, "You shout")
        assert dora.close_code == 1000


def test_the_clients_pings_are_answered(server: Server) -> None:
    with client(server) as dora:
        assert dora.ping().wait(SECONDS_MAX)


def test_an_unknown_subprotocol_is_refused_with_a_reason(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused, client(server, "soap"):
        pass
    assert refused.value.response.status_code == 400
    assert b"subprotocol" in (refused.value.response.body or b"")


def test_the_command_line_of_the_websockets_package_plays(server: Server) -> None:
    playing = subprocess.Popen(
        [sys.executable, "-m", "websockets", server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert playing.stdin is not None
        assert playing.stdout is not None
        # Its input stays open, as a person's does: it is the server that ends the visit, and the client with it.
        playing.stdin.write(b"Fritz\nlook\nquit\n")
        playing.stdin.flush()
        playing.wait(SECONDS_MAX)
        output = playing.stdout.read()
    finally:
        playing.kill()
        playing.communicate()
    assert b"You are Fritz." in output
    assert b"The Hall" in output
    assert b"Goodbye" in output


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 426),
        ("HEAD", "/", 426),
        ("GET", "/healthz", 200),
        ("GET", "/favicon.ico", 404),
        ("POST", "/", 405),
    ],
)
def test_plain_http_gets_a_short_answer(server: Server, method: str, path: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS_MAX)
    try:
        began = time.monotonic()
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    assert response.status == status
    assert response.getheader("Content-Type") == "text/plain; charset=utf-8"
    assert (body == b"") == (method == "HEAD")
    assert time.monotonic() - began < 2
