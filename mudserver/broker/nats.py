"""The bridge to a nats-server: nats-py run through trio-asyncio, judged by its own heartbeat, replaced when it fails.

nats-py connects, signs in, answers pings and notices errors. Crossing into asyncio is the dear part, so no event does:
two Trio tasks read and write messages on the connection that nats-py has made, and hand it every other line of the
protocol. No other module touches nats or asyncio.
"""

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import nats.aio.client
import nats.aio.transport
import nats.errors
import trio
import trio_asyncio

from mudserver.broker.base import Incoming, LinkLost, LinkUp, Message, Receiver
from mudserver.config import Limits
from mudserver.errors import StartupError

logger = logging.getLogger(__name__)

READ_BYTES = 8 * 1024
"""What one read takes from the broker: some 25 messages. They are handled in one step, a millisecond of talk; arrivals
and shouts before a hundred people, just no crowd yet, take a few.
"""

FIRST_PAUSE_SECONDS = 0.05
"""Before the next attempt after a link that had been good; then twice as long each time."""

QUIET_SECONDS = 0.0005
"""So long after the last write a message is written at once; sooner, it waits for others of its scheduler pass."""

FIRST_SUBSCRIPTION = 1000
"""Our subscriptions' numbers begin here; nats-py, should it ever subscribe to anything itself, begins at 1."""


class _Client(nats.aio.client.Client):
    """nats-py's client, its connection open to us. Subscriptions are ours, by number.

    Messages that nats-py reads itself, as it does over TLS, go straight from its parser to `on_message`: it would put
    each into a queue and wake a task for each subscription.
    """

    def __init__(self, on_message: Callable[[str, bytes], None]) -> None:
        super().__init__()
        self._on_message = on_message

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        # A subject that is no UTF-8 would end nats-py's read loop, and leave it "connected" and deaf.
        self._on_message(subject.decode(errors="replace"), data)

    def write_nowait(self, protocol_lines: bytes) -> int:
        """Writes whole lines of the NATS protocol, in order; returns how many bytes wait for the socket.

        Raises OSError if there is no connection.
        """
        writer = self._writer()
        if writer is None:
            raise OSError("there is no connection")
        writer.write(protocol_lines)
        return writer.transport.get_write_buffer_size()

    def take_over_reading(self) -> "_Tap | None":
        """Stops nats-py from reading the connection; None if that cannot be had (TLS, or it has begun a message)."""
        writer = self._writer()
        if writer is None or self._ps.buf or writer.get_extra_info("ssl_object") is not None:
            return None
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        protocol = transport.get_protocol()
        assert isinstance(protocol, asyncio.Protocol)
        transport.pause_reading()
        return _Tap(writer.get_extra_info("socket").fileno(), protocol.data_received)

    def abort(self) -> None:
        """Cuts the connection; what it has not sent is not sent any more."""
        writer = self._writer()
        if writer is not None:
            writer.transport.abort()

    def _writer(self) -> asyncio.StreamWriter | None:
        transport = self._transport
        return transport._io_writer if isinstance(transport, nats.aio.transport.TcpTransport) else None


class _Tap(NamedTuple):
    """A connection we read instead of nats-py, and where its share of what we read goes."""

    descriptor: int
    pass_on: Callable[[bytes], None]


class NatsBroker:
    """A Broker on a real nats-server. `url` is asked anew for each attempt; `node` names this process to the broker."""

    def __init__(self, url: Callable[[], str], node: str, prefix: str, limits: Limits) -> None:
        self._url = url
        self._node = node
        self._limits = limits
        # Heartbeats go outside "prefix.>": whoever listens to the game hears only the game. But the first word on a
        # link goes inside, to prove that we may speak and hear there.
        self._heartbeat_subject = f"{prefix}-link.{node}"
        self._probe_subject = f"{prefix}.link.{node}"
        self._wanted: dict[str, None] = {}
        self._link: _Link | None = None

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        # Before LinkUp our caller hands events out another way; sent as well, they would come twice.
        if self._link is not None and self._link.was_up:
            self._link.publish(subject, payload)

    def subscribe_nowait(self, subject: str) -> None:
        self._wanted[subject] = None
        if self._link is not None:
            self._link.subscribe(subject)

    def unsubscribe_nowait(self, subject: str) -> None:
        if self._wanted.pop(subject, 0) is None and self._link is not None:
            self._link.unsubscribe(subject)

    async def run(  # noqa: ASYNC128 - started() is called from the asyncio side
        self, receive: Receiver, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        inbox = _Inbox(receive)
        async with trio_asyncio.open_loop() as loop:
            # Without a handler of ours one stray asyncio error would end the loop, and with it the server.
            loop.set_exception_handler(self._on_stray_error)
            async with trio.open_nursery() as wires:
                wires.start_soon(inbox.run)
                await trio_asyncio.aio_as_trio(self._keep_linked)(wires, inbox, task_status.started)

    def _on_stray_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or context.get("message")
        logger.error("the NATS client failed in the background: %s", ascii(str(error)))
        if self._link is not None:
            self._link.fail("error in the NATS client")

    async def _keep_linked(self, wires: trio.Nursery, inbox: "_Inbox", started: Callable[[], None]) -> None:
        """One link after the other, with pauses; the first must come in time. Runs in asyncio."""
        first_deadline = time.monotonic() + self._limits.link_first_seconds_max
        ever_up = False
        pause = FIRST_PAUSE_SECONDS
        while True:
            subjects = (self._heartbeat_subject, self._probe_subject)
            link = _Link(self._url(), self._node, subjects, list(self._wanted), inbox, self._limits)
            try:
                # Orders put from here on go to this link, behind the subscriptions it begins with.
                self._link = link
                await link.open(wires)
                if not ever_up:
                    ever_up = True
                    started()
                opened_at = time.monotonic()
                reason = await link.wait_lost()
                if time.monotonic() - opened_at > self._limits.link_silence_seconds_max:
                    pause = FIRST_PAUSE_SECONDS  # it was no flapping
            except _LinkFailed as error:
                reason = str(error)
            finally:
                self._link = None
                link.abort()
            if link.was_up:
                inbox.put(LinkLost(reason))
                inbox.hand_over()
            await link.wait_closed()
            if not ever_up and time.monotonic() + pause > first_deadline:
                raise StartupError(f"The NATS server at {without_password(self._url())} cannot be used: {reason}.")
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._limits.link_retry_seconds_max)


class _Inbox:
    """What has come in and was not handed over yet. Whoever puts things hands them over in the same step, for between
    the end of a link and word of it nothing else may happen; only what nats-py itself has read waits for `run`.
    """

    def __init__(self, receive: Receiver) -> None:
        self._receive = receive
        self._waiting: list[Incoming] = []
        self._due = trio.Event()

    def put(self, incoming: Incoming) -> None:
        """`hand_over` must follow, once for any number of them."""
        self._waiting.append(incoming)

    def hand_over(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._receive(waiting)

    def put_from_nats_py(self, incoming: Incoming) -> None:
        """What nats-py itself has read, `run` hands over: nats-py would swallow an error of whoever takes it."""
        self._waiting.append(incoming)
        self._due.set()

    async def run(self) -> None:
        while True:
            await self._due.wait()
            self._due = trio.Event()
            self.hand_over()


class _LinkFailed(Exception):
    """This link cannot be opened; the text says why, without an address."""


class _Link:
    """One nats-py client from connect to close; never used again after it failed.

    Lives in asyncio, but for `run_wire`, which is a Trio task, and the methods that say so.
    """

    def __init__(
        self,
        url: str,
        node: str,
        own_subjects: tuple[str, str],
        subjects: list[str],
        inbox: _Inbox,
        limits: Limits,
    ) -> None:
        self._url = url
        self._node = node
        self._heartbeat_subject, self._probe_subject = own_subjects
        self._inbox = inbox
        self._limits = limits
        self._client = _Client(partial(self._on_message, inbox.put_from_nats_py))
        self._numbers: dict[str, int] = {}
        self._next_number = itertools.count(FIRST_SUBSCRIPTION)
        self._lines: list[bytes] = []
        self._wrote_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._due = trio.Event()
        self._wire = trio.CancelScope()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._echoed = asyncio.Event()
        self._last_echo = 0.0
        self._tasks: list[asyncio.Task[Any]] = []
        self.was_up = False
        for subject in (*own_subjects, *subjects):
            self.subscribe(subject)
        self.publish(self._probe_subject, b"{}")

    # What Trio code reaches puts. It also writes, if there is little to do; else `run_wire` joins what was put.

    def publish(self, subject: str, payload: bytes) -> None:
        self._put_line(b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(payload), payload))

    def subscribe(self, subject: str) -> None:
        if subject not in self._numbers:
            self._numbers[subject] = next(self._next_number)
            self._put_line(b"SUB %b %d\r\n" % (subject.encode(), self._numbers[subject]))

    def unsubscribe(self, subject: str) -> None:
        number = self._numbers.pop(subject, None)
        if number is not None:
            self._put_line(b"UNSUB %d\r\n" % number)

    def _put_line(self, line: bytes) -> None:
        if self._lost.done():
            return
        self._lines.append(line)
        if self.was_up and time.monotonic() - self._wrote_at > QUIET_SECONDS:
            self._write()
        else:
            self._due.set()

    async def run_wire(self, tap: _Tap | None) -> None:
        """Writes what is put, and reads what comes by the tap, if there is one. A Trio task; ends with the link."""
        with self._wire:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_when_due)
                if tap is not None:
                    nursery.start_soon(self._read, tap)

    async def _write_when_due(self) -> None:
        while True:
            await self._due.wait()
            self._due = trio.Event()
            self._write()

    def _write(self) -> None:
        if self._lost.done() or not self._lines:
            return
        lines, self._lines = self._lines, []
        self._wrote_at = time.monotonic()
        try:
            waiting = self._client.write_nowait(b"".join(lines))
        except OSError as error:
            self.fail(_plain(error))
            return
        if waiting > self._limits.outgoing_bytes_max:
            self.fail("it takes our messages too slowly")

    def fail(self, reason: str) -> None:
        """Declares the link lost. The first reason counts."""
        if not self._lost.done():
            self._lost.set_result(reason)

    async def _read(self, tap: _Tap) -> None:
        rest = b""
        while not self._lost.done():
            await trio.lowlevel.wait_readable(tap.descriptor)
            try:
                data = os.read(tap.descriptor, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                self.fail(_plain(error))
                return
            if not data:
                self.fail("the connection was closed")
                return
            if len(data) == READ_BYTES:
                self._last_echo = self._loop.time()  # there is more, and the echo is somewhere behind it
            try:
                rest = self._split(rest + data, tap.pass_on)
            except ValueError:
                self.fail("it breaks the protocol")
            self._inbox.hand_over()

    def _split(self, data: bytes, pass_on: Callable[[bytes], None]) -> bytes:
        """Takes the messages out of what was read and passes every other line on; returns what is not yet complete.

        Raises ValueError for a message whose size is no number. Format: NATS client protocol, MSG and HMSG.
        """
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            if not data.startswith((b"MSG ", b"HMSG "), at):
                pass_on(data[at : end + 2])
                at = end + 2
                continue
            words = data[at:end].split(b" ")
            begin, stop = end + 2, end + 2 + int(words[-1])
            if len(data) < stop + 2:
                break
            if words[0] == b"HMSG":
                begin += int(words[-2])  # headers say nothing to us
            self._on_message(self._inbox.put, words[1].decode(errors="replace"), data[begin:stop])
            at = stop + 2
        return data[at:]

    async def open(self, wires: trio.Nursery) -> None:
        """Connects, subscribes, and waits for the first heartbeat to come back. Raises _LinkFailed.

        `wires` is where the task that reads and writes runs.
        """
        deadline = self._loop.time() + self._limits.link_connect_seconds_max
        await self._in_time(self._connect(), deadline, "no connection in time")
        # Now, when the broker has answered our greeting and has not been asked for anything: nothing is half read.
        wires.start_soon(self.run_wire, self._client.take_over_reading())
        self._tasks.append(asyncio.create_task(self._beat()))
        # One connection, one order: when the echo is here, every subscription is in force.
        await self._in_time(self._echoed.wait(), deadline, "it does not answer")
        if self._lost.done():
            raise _LinkFailed(self._lost.result())
        self.was_up = True
        self._inbox.put(LinkUp(without_password(self._url)))
        self._inbox.hand_over()

    async def wait_lost(self) -> str:
        """Waits until the link is lost and returns the reason."""
        return await asyncio.shield(self._lost)

    def abort(self) -> None:
        """Ends the client without sending what still waits: it has been, or will be, handed out another way."""
        self.fail("closed")
        for task in self._tasks:
            task.cancel()
        self._lines.clear()
        self._wire.cancel()  # before the descriptor it waits for is closed
        self._client.abort()

    async def wait_closed(self) -> None:
        """Lets what was aborted come to its end, but not for long."""
        # close() may wait for a dead socket or raise whatever it finds there; the client is thrown away regardless.
        closing = asyncio.ensure_future(_caught(self._client.close()))
        await asyncio.wait({closing, *self._tasks}, timeout=self._limits.link_connect_seconds_max)
        for task in (closing, *self._tasks):
            if not task.done():
                task.cancel()
            elif not task.cancelled():
                task.exception()  # fetched, so that asyncio does not report it as forgotten
        if all(task.done() for task in (closing, *self._tasks)):
            # All these hold each other, some 50 KiB, and Python's collector is off.
            vars(self._client).clear()
            self._tasks.clear()

    async def _in_time(self, waiting: Any, deadline: float, otherwise: str) -> None:
        """Waits for it, for the loss of the link, or for the deadline. Raises _LinkFailed unless it came first."""
        task: asyncio.Task[Any] = asyncio.create_task(_caught(waiting))
        left = max(0.0, deadline - self._loop.time())
        await asyncio.wait({task, self._lost}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            # Not awaited: nats-py may swallow the cancellation, and this object is thrown away.
            task.cancel()
            self._tasks.append(task)
            raise _LinkFailed(self._lost.result() if self._lost.done() else otherwise)
        if error := task.result():
            raise _LinkFailed(_plain(error))

    async def _connect(self) -> None:
        # A user's words in a URL are not repeated in errors, so the client gets it whole and reports nothing itself.
        await self._client.connect(
            self._url,
            name=f"mudserver {self._node}",
            error_cb=self._on_error,
            closed_cb=self._on_closed,
            disconnected_cb=self._on_closed,
            allow_reconnect=False,
            connect_timeout=1,
            max_reconnect_attempts=1,
            reconnect_time_wait=1,
            skip_subject_validation=True,
        )

    # Callbacks must not raise: nats-py would be "connected" and deaf afterwards.

    async def _on_error(self, error: Exception) -> None:
        logger.debug("the NATS client reports: %s", ascii(str(error)))
        self.fail(_plain(error))

    async def _on_closed(self) -> None:
        self.fail("the connection was closed")

    def _on_message(self, put: Callable[[Incoming], None], subject: str, payload: bytes) -> None:
        if subject == self._heartbeat_subject:
            self._last_echo = self._loop.time()
        elif subject == self._probe_subject:
            self._echoed.set()
        elif not self._lost.done():  # else its successor, or the loss itself, was announced: it does not count any more
            put(Message(subject, payload))

    async def _beat(self) -> None:
        """Sends ourselves a message again and again: only its coming back proves that the link carries anything."""
        loop = self._loop
        self._last_echo = loop.time()
        while not self._lost.done():
            self.publish(self._heartbeat_subject, b"")
            sent = loop.time()
            await asyncio.sleep(self._limits.link_heartbeat_seconds)
            # A pause of our own (a suspended machine, a long collection) is not the broker's silence.
            paused = loop.time() - sent - self._limits.link_heartbeat_seconds
            if loop.time() - self._last_echo - max(0.0, paused) > self._limits.link_silence_seconds_max:
                self.fail("it has fallen silent")


async def _caught(waiting: Awaitable[object]) -> Exception | None:
    """Waits, and gives what was raised: an error of a task that nobody waits for any more would end the loop."""
    try:
        await waiting
    except Exception as error:
        return error
    return None


def without_password(url: str) -> str:
    """The address of a NATS URL, fit for a log or a screen."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _plain(error: BaseException) -> str:
    """What went wrong in a few words for a person."""
    if isinstance(error, nats.errors.NoServersError | ConnectionRefusedError):
        return "nobody answers there"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = ascii(str(error))[1:-1].removeprefix("nats: ")
    return text or type(error).__name__
