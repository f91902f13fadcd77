"""Pairs of connected sockets with small buffers, so that little fills them; and a turnstile that counts."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from mudserver.transport.turnstile import Turnstile

SMALL_BYTES = 32 * 1024
"""Smaller still, and TCP's own politeness (delayed answers to tiny windows) makes tests slow."""


@contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end, with a small send buffer, and the client's; both non-blocking TCP over loopback.

    Not `socket.socketpair`: a Unix socket knows no TCP_NODELAY.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
        client.connect(listening.getsockname())
        server, _ = listening.accept()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)
    for each in (server, client):
        each.setblocking(False)
    with server, client:
        yield server, client


class CountingTurnstile(Turnstile):
    """Knows how many turns were taken."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.turns_of_hurried = 0

    async def wait_turn(self) -> None:
        self.turns += 1
        await super().wait_turn()

    async def wait_turn_of_hurried(self) -> None:
        self.turns_of_hurried += 1
        await super().wait_turn_of_hurried()
