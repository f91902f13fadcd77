"""Thousands of WebSocket clients in one process: raw sockets, one epoll, and no frame is parsed while it measures.

A `Swarm` knows three ways to spend time:
* `run_scripts`: each client follows a script (a generator that yields whenever it needs more bytes): sign-in, walks;
* `play`: lines are sent by a schedule, and every chunk received is kept with its time, to be read afterwards;
* `count_bytes`: bytes are only counted, until there are as many as expected (`fanout`).
"""

import gc
import select
import socket
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Self

from benchmarks.errors import BenchError
from benchmarks.frames import CLOSE, PONG, client_frame, handshake_request, take_frames

CONNECT_SECONDS_MAX: Final = 5.0
CHUNK_BYTES: Final = 16 * 1024
"""What one receive takes at most; more would make every receive allocate pages."""
RECORDED_BYTES_MAX: Final = 4 << 30
"""A recording holds every byte until it is read: past this something is badly wrong."""
SHOWN_BYTES_MAX: Final = 300
NAP_SECONDS: Final = 0.005
PLAY_NAP_SECONDS: Final = 0.001

PING_BYTE: Final = b"\x89"
PING_PAYLOAD_BYTES_MAX: Final = 8

Script = Generator[None, None, None]


class Link:
    """One client's connection: `send` whole frames; in a script, `yield from link.wait_for(…)`.

    `number` counts from 0 in the order of connecting.
    """

    __slots__ = ("name", "number", "sock", "unread")

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.sock = sock
        self.unread = bytearray()
        self.name = ""

    def send(self, frame: bytes) -> None:
        """Raises BenchError if the server takes no more: a few short lines always fit into an idle socket."""
        try:
            sent = self.sock.send(frame)
        except OSError as error:
            raise BenchError(f"client {self.number}: cannot send: {error}") from error
        if sent != len(frame):
            raise BenchError(f"client {self.number}: the server reads too slowly")

    def wait_for(self, needle: bytes) -> Generator[None, None, bytes]:
        """Wait until `needle` was received; takes and gives all bytes up to and with it."""
        while (at := self.unread.find(needle)) < 0:
            yield
        end = at + len(needle)
        taken = bytes(self.unread[:end])
        del self.unread[:end]
        return taken

    def shake_hands(self, port: int, subprotocol: str | None) -> Script:
        """The opening handshake; what follows it stays unread."""
        self.send(handshake_request(port, subprotocol))
        head = yield from self.wait_for(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise BenchError(f"client {self.number}: turned away: {head[:SHOWN_BYTES_MAX]!r}")


@dataclass(frozen=True, slots=True)
class Sending:
    """A frame to be sent `due` seconds after the start of `Swarm.play`."""

    due: float
    link: Link
    frame: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """One frame a client received: when its last byte came (time.perf_counter seconds), and what it held."""

    number: int
    at: float
    opcode: int
    payload: bytes


@dataclass(slots=True)
class Recording:
    """What `Swarm.play` saw. `sent_at[i]` is when the i-th sending left, in time.perf_counter seconds."""

    sent_at: list[float] = field(default_factory=list)
    chunks: list[tuple[int, float, bytes]] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    """Numbers of the clients whose connection the server ended."""
    late_seconds_max: float = 0.0
    """How far behind its schedule the client was at worst."""

    def frames(self) -> Iterator[Received]:
        """Every frame in the order of arrival. Raises BenchError on bytes that are no frames: half a frame was sent."""
        rest: dict[int, bytearray] = {}
        for number, at, chunk in self.chunks:
            buffer = rest.setdefault(number, bytearray())
            buffer += chunk
            try:
                for opcode, payload in take_frames(buffer):
                    yield Received(number, at, opcode, payload)
            except ValueError as error:
                raise BenchError(f"client {number}: {error}") from error


class Swarm:
    """Clients of one server on 127.0.0.1. A context manager: its end closes every socket."""

    def __init__(self, port: int) -> None:
        self.links: list[Link] = []
        self._port = port
        self._epoll = select.epoll()
        self._by_fd: dict[int, Link] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for link in self.links:
            link.sock.close()
        self._epoll.close()

    def _connect(self) -> Link:
        try:
            sock = socket.create_connection(("127.0.0.1", self._port), CONNECT_SECONDS_MAX)
        except OSError as error:
            raise BenchError(f"client {len(self.links)}: cannot connect: {error}") from error
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(len(self.links), sock)
        self.links.append(link)
        self._by_fd[sock.fileno()] = link
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        return link

    def _forget(self, link: Link) -> None:
        self._epoll.unregister(link.sock.fileno())
        del self._by_fd[link.sock.fileno()]

    def run_scripts(
        self,
        script: Callable[[Link, int], Script],
        count: int,
        *,
        in_flight_max: int,
        seconds_max: float,
        each_done: Callable[[int], None] = lambda done: None,
    ) -> list[float]:
        """Connect `count` new clients, each of which then follows `script(link, port)`; `in_flight_max` at a time.

        Clients that are through go on receiving, their bytes thrown away. Gives the seconds each needed, in the order
        they finished; calls `each_done(how many)` at each. Raises BenchError if one is refused or time runs out.
        """
        deadline = time.monotonic() + seconds_max
        running: dict[Link, tuple[Script, float]] = {}
        took: list[float] = []
        started = 0

        def advance(link: Link) -> None:
            steps, since = running[link]
            try:
                next(steps)
            except StopIteration:
                del running[link]
                link.unread.clear()
                took.append(time.perf_counter() - since)
                each_done(len(took))

        while len(took) < count:
            while started < count and len(running) < in_flight_max:
                since = time.perf_counter()
                link = self._connect()
                running[link] = (script(link, self._port), since)
                started += 1
                advance(link)
            if time.monotonic() > deadline:
                raise BenchError(self._too_slow(len(took), count, seconds_max, running))
            for fd, _ in self._epoll.poll(0.1):
                link = self._by_fd[fd]
                chunk = self._receive(link)
                if chunk is None:
                    seen = bytes(link.unread[-SHOWN_BYTES_MAX:])
                    raise BenchError(f"client {link.number}: the server ended the connection, last words {seen!r}")
                self._answer_pings(link, chunk)
                if link in running:
                    link.unread += chunk
                    advance(link)
        return took

    @staticmethod
    def _too_slow(done: int, count: int, seconds_max: float, running: Iterable[Link]) -> str:
        link = next(iter(running))
        seen = bytes(link.unread[-SHOWN_BYTES_MAX:])
        return f"only {done} of {count} clients were ready in {seconds_max:g} s; client {link.number} last saw {seen!r}"

    def settle(self, quiet_seconds: float = 0.5, seconds_max: float = 30.0) -> None:
        """Receive and throw away until nothing but pings came for `quiet_seconds`.

        Raises BenchError if it never gets quiet, or if somebody's connection ends.
        """
        now = heard_at = time.monotonic()
        deadline = now + seconds_max
        while now - heard_at < quiet_seconds:
            if now > deadline:
                raise BenchError(f"the server was not quiet within {seconds_max:g} s")
            ready = self._epoll.poll(quiet_seconds - (now - heard_at))
            now = time.monotonic()
            for fd, _ in ready:
                link = self._by_fd[fd]
                chunk = self._receive(link)
                if chunk is None:
                    raise BenchError(f"client {link.number}: the server ended the connection of an idle player")
                if not self._answer_pings(link, chunk):
                    heard_at = now

    def play(
        self,
        schedule: Sequence[Sending],
        *,
        seconds_min: float,
        quiet_seconds: float = 1.0,
        drain_seconds_max: float = 15.0,
        each_second: Callable[[float], None] = lambda elapsed: None,
    ) -> Recording:
        """Send by the schedule (sorted by `due`) and record all that comes.

        It looks every `PLAY_NAP_SECONDS`, for the reason given at `count_bytes`; latencies are longer by up to that.
        Goes on for at least `seconds_min`, then until nothing but pings came for `quiet_seconds`, at most
        `drain_seconds_max`.
        """
        recording = Recording()
        clock = time.perf_counter
        with _garbage_collector_off():
            started_at = heard_at = told_at = clock()
            active_until = started_at + max(seconds_min, schedule[-1].due if schedule else 0.0)
            recorded = 0
            upcoming = iter(schedule)
            sending = next(upcoming, None)
            while True:
                now = clock()
                while sending is not None and now >= (due_at := started_at + sending.due):
                    recording.late_seconds_max = max(recording.late_seconds_max, now - due_at)
                    recording.sent_at.append(clock())
                    sending.link.send(sending.frame)
                    sending = next(upcoming, None)
                    now = clock()
                if now > active_until and (now - heard_at > quiet_seconds or now > active_until + drain_seconds_max):
                    return recording
                if now - told_at > 1.0:
                    told_at = now
                    each_second(now - started_at)
                ready = self._epoll.poll(0)
                if not ready:
                    time.sleep(PLAY_NAP_SECONDS)
                for fd, _ in ready:
                    link = self._by_fd[fd]
                    chunk = self._receive(link)
                    now = clock()
                    if chunk is None:
                        recording.dropped.append(link.number)
                        self._forget(link)
                        continue
                    recording.chunks.append((link.number, now, chunk))
                    if not self._answer_pings(link, chunk):
                        heard_at = now
                    recorded += len(chunk)
                    if recorded > RECORDED_BYTES_MAX:
                        raise BenchError(f"more than {RECORDED_BYTES_MAX:,} bytes were received")

    def count_bytes(self, expected: int, counts: list[int], seconds_max: float) -> None:
        """Receive until `expected` bytes came over all links together; adds each link's to `counts[number]`.

        It looks every `NAP_SECONDS` rather than being woken by the first byte, so that the server is not charged for
        waking a neighbour on the same machine and, for short rounds, works undisturbed.
        Raises BenchError if they do not come in time, or if a connection ends.
        """
        deadline = time.monotonic() + seconds_max
        buffer = bytearray(CHUNK_BYTES)
        missing = expected
        while missing > 0:
            ready = self._epoll.poll(0)
            if not ready:
                time.sleep(NAP_SECONDS)
            if time.monotonic() > deadline:
                raise BenchError(f"{missing:,} of {expected:,} bytes did not come within {seconds_max:g} s")
            for fd, _ in ready:
                link = self._by_fd[fd]
                received = link.sock.recv_into(buffer)
                if received == 0:
                    raise BenchError(f"client {link.number}: the server ended the connection")
                counts[link.number] += received
                missing -= received
        if missing < 0:
            raise BenchError(f"{-missing:,} bytes more than the expected {expected:,} came")

    @staticmethod
    def _receive(link: Link) -> bytes | None:
        """What has come; None at the end of the connection."""
        try:
            return link.sock.recv(CHUNK_BYTES) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    @staticmethod
    def _answer_pings(link: Link, chunk: bytes) -> bool:
        """Send the pongs that are due. Gives whether the chunk held nothing but pings."""
        if PING_BYTE not in chunk:
            return False
        payloads = list(pings_in(chunk))
        for payload in payloads:
            link.send(client_frame(payload, PONG))
        return len(chunk) == sum(2 + len(payload) for payload in payloads)


def pings_in(chunk: bytes) -> Iterator[bytes]:
    """The payloads of a server's pings, wherever in the chunk they are, without taking the frames apart.

    The servers' text is ASCII, so 0x89 can otherwise only be the second byte of a length, and what follows that is `{`,
    a letter or ESC, never a byte up to 8.
    """
    at = chunk.find(PING_BYTE)
    while 0 <= at < len(chunk) - 1:
        size = chunk[at + 1]
        is_ping = size <= PING_PAYLOAD_BYTES_MAX
        if is_ping:
            yield chunk[at + 2 : at + 2 + size]
        at = chunk.find(PING_BYTE, at + 2 + size if is_ping else at + 1)


def is_close(received: Received) -> bool:
    return received.opcode == CLOSE


@contextmanager
def _garbage_collector_off() -> Iterator[None]:
    """A collection in the client would show as latency of the server."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
