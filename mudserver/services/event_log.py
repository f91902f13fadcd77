"""EventLog: every event this node publishes, as JSON lines on disk, without the game ever waiting for that disk.

A line is {"subject": …, "payload": …, "dropped_before"?: n}: the message as on the bus, and how many events are missing
just before it. The file being written is FILE; older parts are FILE.1 (the newest of them), FILE.2 and so on.
"""

import fcntl
import logging
import os
import re
import stat
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from mudserver.config import Limits
from mudserver.errors import MalformedMessage, StartupError
from mudserver.wire.envelope import Stamped, decode_event, encode_payload, event_type_of, open_payload
from mudserver.wire.subjects import Subjects

logger = logging.getLogger(__name__)

PRIVATE = 0o600
"""What players tell each other in private is in the log."""


# --- one line ------------------------------------------------------------------------------------------------------


class _Line(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    subject: str
    payload: msgspec.Raw
    dropped_before: int = 0


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


def encode_line(subjects: Subjects, stamped: Stamped, dropped_before: int) -> bytes:
    """The line for an event, newline included. Raises ValueError or TypeError where publishing does too."""
    subject = subjects.subject(stamped.event.to, event_type_of(stamped.event.fact))
    line = _Line(subject, msgspec.Raw(encode_payload(stamped)), dropped_before)
    return _encoder.encode(line) + b"\n"


def decode_line(line: bytes) -> tuple[Stamped, int]:
    """The event in a line, checked as one from the bus is, and the number of events missing before it.

    Raises MalformedMessage, its reason 'line' or one of those of the bus.
    """
    try:
        read = _decoder.decode(line)
        subjects = Subjects(read.subject.partition(".")[0])
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise MalformedMessage("line") from None
    to, event_type = subjects.parse(read.subject)
    return decode_event(open_payload(bytes(read.payload)), to, event_type), read.dropped_before


# --- files ---------------------------------------------------------------------------------------------------------


def parts_of(path: Path) -> dict[int, Path]:
    """The files of a log that exist, by number, the newest first: 0 is FILE itself, 1 is FILE.1, …

    Raises OSError if the directory cannot be read.
    """
    pattern = re.compile(re.escape(path.name) + r"\.([1-9]\d{0,5})")
    numbered = {int(match[1]): each for each in path.parent.iterdir() if (match := pattern.fullmatch(each.name))}
    if path.exists():
        numbered[0] = path
    return dict(sorted(numbered.items()))


class _EncodedLine(NamedTuple):
    data: bytes
    events: int
    """How many events are lost if the line is: its own, and those it says are missing before it."""


class _RotatedFile:
    """The file being written, and the older parts beside it. Everything here blocks: call it in a thread."""

    def __init__(self, path: Path, bytes_max: int, files_max: int) -> None:
        """Opens the file for appending. Raises StartupError."""
        self._path = path
        self._bytes_max = bytes_max
        self._files_max = files_max
        try:
            self._descriptor, self._size = _open_private(path)
            self._end_torn_line()
        except BlockingIOError:
            raise StartupError(f"--event-log {path}: another server writes to it; give each its own file.") from None
        except OSError as error:
            raise StartupError(f"--event-log {path}: cannot be written: {error.strerror}.") from None

    def append(self, lines: deque[_EncodedLine]) -> None:
        """Writes lines and takes them out of `lines`. Raises OSError; what is left in `lines` then was not written."""
        while lines:
            if self._size and self._size + len(lines[0].data) > self._bytes_max:
                self._rotate()
            chunk: list[bytes] = []
            size = self._size
            for line in lines:
                size += len(line.data)
                if chunk and size > self._bytes_max:
                    break
                chunk.append(line.data)
            self._append(b"".join(chunk))
            for _ in chunk:
                lines.popleft()

    def close(self) -> None:
        """Has everything on the disk itself, and closes. Raises OSError."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def _append(self, data: bytes) -> None:
        rest = data
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)  # no half line in the middle of the file
            raise
        self._size += len(data)

    def _end_torn_line(self) -> None:
        """A server that was killed may have left half a line, which must not swallow our first."""
        if self._size and os.pread(self._descriptor, 1, self._size - 1) != b"\n":
            self._append(b"\n")

    def _rotate(self) -> None:
        """FILE becomes FILE.1, FILE.1 becomes FILE.2 …; what is over the limit goes. Oldest first, so nothing is lost
        if we are killed in between. If only opening the new file failed the last time, it does only that.
        """
        parts = parts_of(self._path)
        if 0 in parts:
            for number, part in reversed(parts.items()):
                if number + 1 < self._files_max:
                    part.rename(self._path.with_name(f"{self._path.name}.{number + 1}"))
                else:
                    part.unlink()
        descriptor, size = _open_private(self._path)
        os.close(self._descriptor)
        self._descriptor, self._size = descriptor, size


def _open_private(path: Path) -> tuple[int, int]:
    """A descriptor for appending to a plain file that nobody else writes to or reads, and its size in bytes.

    Raises BlockingIOError if another server has it, and OSError.
    """
    # Without O_NONBLOCK a FIFO would keep us waiting for a reader; plain files do not care.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, PRIVATE)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "It is no plain file")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.fchmod(descriptor, PRIVATE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status.st_size


# --- the task ------------------------------------------------------------------------------------------------------


class _Queued(NamedTuple):
    stamped: Stamped
    dropped_before: int


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a batch: lines written, events that the next line must call missing, what stood in the way."""

    written: int
    noted: int
    missing: int
    problem: str | None


class EventLog:
    """Writes events to a file that rotates. `written` and `dropped` count them.

    When the disk is slow or full, events are dropped, counted, and the next line in the file says how many.
    """

    def __init__(self, path: Path, subjects: Subjects, limits: Limits) -> None:
        self.path = path
        self.written = 0
        self.dropped = 0
        self._subjects = subjects
        self._limits = limits
        self._send, self._receive = trio.open_memory_channel[_Queued](limits.event_log_events_max)
        self._closing = trio.Event()
        self._refused = 0
        """Events that found the queue full since the last one that did not."""
        self._missing = 0
        """Events taken from the queue and not written since the last one that was."""
        self._is_failing = False

    def observe(self, stamped: Stamped) -> None:
        """Takes an event as it is published. Never waits and never raises: an EventPublisher's observer."""
        try:
            self._send.send_nowait(_Queued(stamped, self._refused))
            self._refused = 0
        except (trio.WouldBlock, trio.ClosedResourceError):
            self._refused += 1
            self.dropped += 1

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Writes until cancelled, and then what was observed up to there; started once the file is open.

        Raises StartupError if it cannot be opened. Whoever publishes must end first, or the last events are dropped.
        """
        file = await trio.to_thread.run_sync(
            _RotatedFile, self.path, self._limits.event_log_bytes_max, self._limits.event_log_files_max
        )
        # Shielded, so that being cancelled means to finish; from then on the time runs. It is real time, because a
        # disk knows no other: on a mocked clock, which jumps while threads work, a deadline would strike at once.
        writing = trio.CancelScope(shield=True)
        token = trio.lowlevel.current_trio_token()
        giving_up = threading.Timer(self._limits.event_log_close_seconds_max, token.run_sync_soon, (writing.cancel,))
        giving_up.daemon = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_all, file, writing)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    self._send.close()
                    self._closing.set()
                    giving_up.start()
        finally:
            giving_up.cancel()

    async def _write_all(self, file: _RotatedFile, writing: trio.CancelScope) -> None:
        with writing:
            async for first in self._receive:
                # One trip to a thread costs as much as many events, so let some gather.
                with trio.move_on_after(self._limits.event_log_gather_seconds):
                    await self._closing.wait()
                batch = [first, *self._waiting()]
                # Abandoned only when the time to finish is over: the process ends then, disk or no disk.
                outcome = await trio.to_thread.run_sync(
                    self._write_batch, file, batch, self._missing, abandon_on_cancel=True
                )
                self._take_note(outcome, len(batch))
            try:
                await trio.to_thread.run_sync(file.close, abandon_on_cancel=True)
            except OSError as error:
                logger.error("the event log %s could not be closed well: %s", self.path, error.strerror)
        if writing.cancelled_caught:
            logger.error("the disk is too slow: the last events are missing from the event log %s", self.path)
        elif self._missing:
            logger.error("the last %d events are missing from the event log %s", self._missing, self.path)

    def _waiting(self) -> list[_Queued]:
        waiting: list[_Queued] = []
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                waiting.append(self._receive.receive_nowait())
        return waiting

    def _write_batch(self, file: _RotatedFile, batch: list[_Queued], missing: int) -> _Outcome:
        """Runs in a thread, so it changes nothing but the file."""
        lines: deque[_EncodedLine] = deque()
        for stamped, dropped_before in batch:
            missing += dropped_before
            try:
                data = encode_line(self._subjects, stamped, missing)
            except (TypeError, ValueError):  # the publisher reports it
                missing += 1
                continue
            lines.append(_EncodedLine(data, missing + 1))
            missing = 0
        encoded = len(lines)
        noted = sum(line.events - 1 for line in lines)
        problem = None
        try:
            file.append(lines)
        except OSError as error:
            problem = error.strerror or type(error).__name__
        lost = sum(line.events for line in lines)
        return _Outcome(encoded - len(lines), noted, missing + lost, problem)

    def _take_note(self, outcome: _Outcome, events: int) -> None:
        """Counts, and says once for each trouble that it begins, and how much is missing when it is over."""
        self.written += outcome.written
        self.dropped += events - outcome.written
        self._missing = outcome.missing
        if outcome.problem is not None:
            if not self._is_failing:
                logger.error("the event log %s cannot be written: %s; events are dropped", self.path, outcome.problem)
            self._is_failing = True
        elif outcome.written:
            self._is_failing = False
            if outcome.noted:
                logger.warning("%d events are missing from the event log %s", outcome.noted, self.path)
