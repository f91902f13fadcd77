"""A few pages of plain HTTP for those who look after the server, on a port of their own."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import trio

from mudserver.config import Limits
from mudserver.transport.http import ANSWER_TYPE, read_request_head, refuse, response
from mudserver.transport.listener import serve_connections
from mudserver.transport.stream import PlayerStream


@dataclass(frozen=True, slots=True)
class Page:
    """What a path answers with."""

    status: int
    text: str
    content_type: str = ANSWER_TYPE


Pages = Mapping[str, Callable[[], Page]]
"""Pages by path, made when asked for."""


async def serve_admin(listening: list[socket.socket], pages: Pages, limits: Limits) -> None:
    """Answers requests until cancelled."""
    async with trio.open_nursery() as connections:
        await serve_connections(listening, partial(_answer, pages, limits), connections, limits.admin_connections_max)


async def _answer(pages: Pages, limits: Limits, stream: PlayerStream, _peer: str) -> None:
    with trio.fail_after(limits.handshake_seconds_max):
        head = await read_request_head(stream, limits.request_head_bytes_max)
        if head.method not in ("GET", "HEAD"):
            await refuse(stream, 405, "Only GET is answered here.", headers="Allow: GET\r\n")
        if head.path not in pages:
            await refuse(stream, 404, f"There are {', '.join(pages)}.", method=head.method)
        page = pages[head.path]()
        await stream.send_all(response(page.status, page.text, content_type=page.content_type, method=head.method))
        await stream.see_off()
