"""A player who reads nothing any more."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stalled_reader(port: int, name: str = "Stone") -> Iterator[socket.socket]:
    """A player in the hall with a small window who reads nothing, not even a close frame."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(5)
        sock.connect(("127.0.0.1", port))
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        received = b""
        while b"By what name" not in received:
            received += sock.recv(1000)
        sock.sendall(b"\x81%c\0\0\0\0%b" % (0x80 + len(name), name.encode()))  # a masked TEXT frame
        while b"Exits: " not in received:
            received += sock.recv(1000)
        yield sock
