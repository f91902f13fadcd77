"""The HTTP request head, judged by ourselves.

trio-websocket lets some heads through to places where they raise, and answers others with nothing; a stranger who
speaks plain HTTP deserves a short answer.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit

import h11
import trio

from mudserver.errors import HandshakeRefused
from mudserver.transport.stream import PlayerStream
from mudserver.transport.turnstile import Turnstile

_WS_HEADERS = ("sec-websocket-protocol", "sec-websocket-extensions", "sec-websocket-key", "sec-websocket-version")

LINGER_SECONDS = 1.0
"""How long a stranger may take to read a refusal before the connection is cut."""

ANSWER_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class RequestHead:
    """An HTTP request line and headers; `version` as in "1.1", header names in lower case, values as Latin-1 text."""

    method: str
    path: str
    query: dict[str, list[str]]
    version: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str:
        """All values of a header, joined by commas; "" if there is none."""
        return ",".join(value for key, value in self.headers if key == name)

    def tokens(self, name: str) -> list[str]:
        """The comma-separated words of a header, stripped."""
        return [word.strip() for word in self.header(name).split(",") if word.strip()]

    @property
    def wants_websocket(self) -> bool:
        # Nothing beside it: we could not take "h2c, websocket" at its first word.
        words = [word.lower() for word in self.tokens("connection")]
        is_asked_for = self.header("upgrade").strip().lower() == "websocket" and "upgrade" in words
        return is_asked_for and self.version != "1.0"  # there is no upgrade in 1.0 (RFC 9110, section 7.8)

    @property
    def has_body(self) -> bool:
        """Whether more follows it that is part of the same request."""
        return bool(self.header("transfer-encoding")) or self.header("content-length").strip() not in ("", "0")


async def read_request_head(stream: PlayerStream, bytes_max: int, turnstile: Turnstile | None = None) -> RequestHead:
    """Reads up to the empty line, and puts back what was read beyond it.

    If there is a turnstile, a whole head waits for a turn before it is looked at, and the caller goes on in that turn.
    Answers and raises HandshakeRefused for what is no HTTP request, or one over `bytes_max`.
    """
    received = b""  # what begins with no letter is no HTTP method: a TLS hello, most likely
    while not (empty_line := re.search(rb"\r?\n\r?\n", received)):
        if len(received) >= bytes_max:
            await refuse(stream, 431, f"The request head is over {bytes_max} bytes.")
        if received and not received[:1].isalpha():
            await refuse(stream, 400, "This is a MUD server; it speaks WebSocket.")
        data = await stream.receive_some(min(4096, bytes_max - len(received)))
        if not data:
            raise HandshakeRefused("gone before the request was complete")
        received += data
    if turnstile is not None:
        await turnstile.wait_turn()
    head = _parse(received[: empty_line.end()])
    if isinstance(head, str):
        await refuse(stream, 400, head)
    stream.unread(received[empty_line.end() :])
    return head


def _parse(received: bytes) -> RequestHead | str:
    """The head, or what is wrong with it."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(received)
    try:
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            return "This is no complete HTTP request."
        target = urlsplit(request.target.decode("ascii"))
        query = parse_qs(target.query, max_num_fields=20)
        headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers)
    except (h11.RemoteProtocolError, ValueError) as error:
        # h11 raises some in a method of the error itself, whose frame then knows it, and it the frame.
        error.__traceback__ = None
        return "This is no HTTP request."
    # These are made of tokens, and tokens of ASCII (RFC 9110); names of hosts are in punycode.
    if any(not value.isascii() for name, value in headers if name in ("host", "connection", "upgrade", *_WS_HEADERS)):
        return "A header has characters it must not have."
    version = request.http_version.decode("ascii")
    return RequestHead(request.method.decode("ascii"), target.path, query, version, headers)


_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}
_REASONS |= {426: "Upgrade Required", 429: "Too Many Requests", 431: "Request Header Fields Too Large"}
_REASONS |= {503: "Service Unavailable"}


def response(
    status: int, text: str, *, headers: str = "", content_type: str = ANSWER_TYPE, method: str = "GET"
) -> bytes:
    """A whole HTTP/1.1 response that closes the connection; to HEAD, one without its body.

    `headers` are further lines, each with its line end.
    """
    body = text.encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\nCache-Control: no-store\r\n{headers}\r\n"
    )
    return head.encode("ascii") + (b"" if method == "HEAD" else body)


async def refuse(stream: PlayerStream, status: int, text: str, *, headers: str = "", method: str = "GET") -> NoReturn:
    """Answers a stranger in plain HTTP and raises HandshakeRefused."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError), trio.move_on_after(LINGER_SECONDS):
        await stream.send_all(response(status, text, headers=headers, method=method))
        await stream.see_off()
    raise HandshakeRefused(f"answered {status}: {text}", status)
