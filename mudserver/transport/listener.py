"""Our own accept loop: hands each new stream to a task of its own that can end nobody else's.

trio-websocket's server lets one stranger's bytes end the whole program; here whatever goes wrong inside a connection
is counted, logged in one line, and over.
"""

import errno
import logging
import socket
from collections.abc import Awaitable, Callable

import trio

from mudserver.errors import ConnectionEnded, HandshakeRefused, StartupError, first_cause
from mudserver.transport.http import refuse
from mudserver.transport.stream import PlayerStream, SocketPlayerStream
from mudserver.transport.turnstile import Turnstile

logger = logging.getLogger(__name__)

Handler = Callable[[PlayerStream, str], Awaitable[None]]
"""Takes a new stream and the peer's address, and returns when the connection is over. It need not close the stream."""

BACKLOG = 1024
"""Connections the kernel may hold for us: a thousand players coming back at once after a restart."""

TOLD_AT_ONCE_MAX = 16
"""Strangers who are being told that the server is full; more of them at a time are hung up on without a word."""

ACCEPTED_IN_A_TURN_MAX = 8
"""Half a millisecond of work, so that a crowd before the door does not wait a turn for each of its heads."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NO_ROOM_PAUSE_SECONDS = 0.1


def bind(host: str, port: int, option: str = "--") -> list[socket.socket]:
    """Listening sockets on every address of `host`, the same port for all.

    Raises StartupError, which names the options by their beginning `option`.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StartupError(f"{option}host {host}: no such address: {error.strerror}.") from None
    listening: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            sock = socket.socket(family, socket.SOCK_STREAM)
            listening.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Port 0 means any free one, but one and the same for all addresses.
            chosen = port or (listening[0].getsockname()[1] if len(listening) > 1 else 0)
            sock.bind((address[0], chosen, *address[2:]))
            sock.listen(BACKLOG)
            sock.setblocking(False)
    except OSError as error:
        for sock in listening:
            sock.close()
        if error.errno == errno.EADDRINUSE:
            raise StartupError(f"{option}port {port}: something else is listening on {host}:{port} already.") from None
        raise StartupError(f"{option}host {host} {option}port {port}: cannot listen there: {error.strerror}.") from None
    return listening


async def serve_connections(
    listening: list[socket.socket],
    handle: Handler,
    connections: trio.Nursery,
    connections_max: int,
    turnstile: Turnstile | None = None,
) -> None:
    """Accepts until cancelled; each connection becomes a task in `connections`, which may outlive the accepting.

    Whoever would be one more than `connections_max` gets a short HTTP answer, if there are not too many of those. If
    there is a turnstile, everybody waits before it, with the kernel.
    """
    seats = trio.CapacityLimiter(connections_max)
    async with trio.open_nursery() as leaving, trio.open_nursery() as acceptors:
        for sock in listening:
            acceptors.start_soon(_accept, sock, handle, connections, seats, leaving, turnstile)


async def _accept(
    listening: socket.socket,
    handle: Handler,
    connections: trio.Nursery,
    seats: trio.CapacityLimiter,
    leaving: trio.Nursery,
    turnstile: Turnstile | None,
) -> None:
    with listening:
        while True:
            await trio.lowlevel.wait_readable(listening)
            if turnstile is not None:
                await turnstile.wait_turn()
            try:
                for _ in range(ACCEPTED_IN_A_TURN_MAX):
                    sock, address = listening.accept()
                    _receive(sock, str(address[0]), handle, connections, seats, leaving)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _NO_ROOM:
                    logger.warning("no room for another connection: %s", error.strerror)
                    await trio.sleep(_NO_ROOM_PAUSE_SECONDS)
                continue  # anything else is a connection that died before we took it


def _receive(
    sock: socket.socket,
    peer: str,
    handle: Handler,
    connections: trio.Nursery,
    seats: trio.CapacityLimiter,
    leaving: trio.Nursery,
) -> None:
    """Gives whoever came a seat and a task, or a word at the door."""
    sock.setblocking(False)
    try:
        stream = SocketPlayerStream(sock)
    except OSError:
        sock.close()  # reset already
        return
    try:
        seats.acquire_on_behalf_of_nowait(stream)
    except trio.WouldBlock:
        if len(leaving.child_tasks) < TOLD_AT_ONCE_MAX:
            leaving.start_soon(guard_connection, _tell_it_is_full, stream, peer)
        else:
            sock.close()
        return
    connections.start_soon(_seat, seats, handle, stream, peer)


async def _seat(seats: trio.CapacityLimiter, handle: Handler, stream: PlayerStream, peer: str) -> None:
    try:
        await guard_connection(handle, stream, peer)
    finally:
        seats.release_on_behalf_of(stream)


async def _tell_it_is_full(stream: PlayerStream, _peer: str) -> None:
    await refuse(stream, 503, "The server is full; come back a little later.")


async def guard_connection(handle: Handler, stream: PlayerStream, peer: str) -> None:
    """Runs `handle` to its end and closes the stream; no error of that connection gets past here."""
    try:
        await handle(stream, peer)
    except* HandshakeRefused as refused:
        cause = first_cause(refused)
        got_what_they_asked_for = isinstance(cause, HandshakeRefused) and cause.status == 200
        # Whoever balances loads asks for /healthz every few seconds.
        logger.log(logging.DEBUG if got_what_they_asked_for else logging.INFO, "no WebSocket with %s: %s", peer, cause)
    except* ConnectionEnded as ended:
        logger.info("the connection with %s is over: %s", peer, first_cause(ended))
    except* trio.TooSlowError:
        logger.info("no WebSocket with %s: too slow", peer)
    except* Exception:
        # The one error boundary of a connection. Cancellation and the like are no Exceptions and pass.
        logger.exception("the connection with %s failed", peer)
    finally:
        await trio.aclose_forcefully(stream)
