"""The limit: a blocking loop of `socket.send` over ready-made frames, with no event loop and no library at all."""

import base64
import hashlib
import socket

from benchmarks.contenders import control
from benchmarks.frames import server_text_frame

HANDSHAKE_SECONDS_MAX = 10.0


def shake_hands(sock: socket.socket) -> None:
    """Answer one WebSocket opening handshake; the least that the driver's client accepts."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        some = sock.recv(4096)
        if not some:
            raise ConnectionError("the client left during the handshake")
        request += some
    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def main() -> None:
    wanted = control.connections_wanted()
    frame = server_text_frame(control.MESSAGE.encode())
    listener = socket.create_server(("127.0.0.1", 0), backlog=control.HANDSHAKES_WAITING_MAX)
    control.announce_port(listener.getsockname()[1])
    attendance = control.Attendance(wanted)
    connections: list[socket.socket] = []
    while len(connections) < wanted:
        sock, _peer = listener.accept()
        sock.settimeout(HANDSHAKE_SECONDS_MAX)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        shake_hands(sock)
        sock.settimeout(None)
        connections.append(sock)
        attendance.one_more()
    for burst in control.bursts_blocking():
        joined = frame * burst
        for sock in connections:
            sock.send(joined)


if __name__ == "__main__":
    main()
