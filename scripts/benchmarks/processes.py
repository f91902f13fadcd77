"""Child processes that never outlive the run, and what the operating system says they used."""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchError

TERMINATE_SECONDS_MAX: Final = 15.0
"""From SIGTERM to SIGKILL: a server with 10,000 players takes its leave of each."""
ERROR_OUTPUT_CHARS_MAX: Final = 2000
"""How much of a failed child's error output is shown."""

_PR_SET_PDEATHSIG: Final = 1
_CPUCLOCK_SCHED: Final = 2
_libc: Final = ctypes.CDLL(None)


def _end_with_the_parent() -> None:
    """In the child, before exec: get SIGTERM when the driver dies, however it dies (`kill -9` too)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """A running child process with lines to read from its standard output. See `open_child`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], errors_path: Path) -> None:
        self.name = name
        self._process = process
        self._errors_path = errors_path
        self._unread = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def say(self, line: str) -> None:
        """Write one line to the child's standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def next_line(self, seconds_max: float) -> str:
        """The next line of its standard output. Raises BenchError when it ended or took longer."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds_max
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        while b"\n" not in self._unread:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            some = os.read(self._process.stdout.fileno(), 4096) if ready else b""
            if not some:
                raise BenchError(f"{self.name} {'ended' if ready else f'said nothing for {seconds_max:g} s'}")
            self._unread += some
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def check_alive(self) -> None:
        """Raises BenchError, with the end of its error output, if the child is no longer running."""
        code = self._process.poll()
        if code is not None:
            raise BenchError(f"{self.name} ended with code {code}: {self.errors_seen() or '(no error output)'}")

    def errors_seen(self) -> str:
        """The end of what it wrote to standard error so far."""
        return self._errors_path.read_text(errors="replace")[-ERROR_OUTPUT_CHARS_MAX:].strip()

    def end(self) -> None:
        """Close its input, ask it to end, insist after `TERMINATE_SECONDS_MAX`. Returns when it is gone."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.terminate()
        try:
            self._process.wait(TERMINATE_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def open_child(
    name: str, arguments: Sequence[str], errors_path: Path, environment: Mapping[str, str], cpus: Iterable[int] = ()
) -> Iterator[Child]:
    """Run `python ARGUMENTS…` (this very Python) until the block ends, on these CPUs only if any are given.

    Its standard error goes to `errors_path`. It leads a session of its own, so that a Ctrl-C in the terminal reaches
    the driver alone, which then ends its children in order.
    """
    with errors_path.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_end_with_the_parent,
        )
    child = Child(name, process, errors_path)
    try:
        if cpus := set(cpus):
            os.sched_setaffinity(process.pid, cpus)
        yield child
    except BenchError as error:
        seen = child.errors_seen()
        raise BenchError(f"{error}\n--- error output of {name}:\n{seen}" if seen else str(error)) from error
    finally:
        child.end()


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, that all threads of the process have used.

    This is the process's CPU clock (clock_getcpuclockid(3)): the accounting behind utime + stime of
    /proc/<pid>/stat, without the rounding to 10 ms.
    """
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def resident_bytes(pid: int) -> int:
    """Memory of the process that is in RAM (Rss of /proc/<pid>/smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"/proc/{pid}/smaps_rollup has no line 'Rss:'")


def child_called(name: str, parent: int) -> int | None:
    """The pid of the first child of `parent` with this command name, or None."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            before_name, after_name = stat.read_text().split(" (", 1)
        except OSError:  # it ended while we looked
            continue
        command, rest = after_name.rsplit(") ", 1)
        if command == name and int(rest.split()[1]) == parent:
            return int(before_name)
    return None


class CpuMeter:
    """CPU seconds and wall seconds of several processes over one stretch of time.

    Takes {role: pid}; `stop` gives {role: CPU seconds} since the start, and sets `wall_seconds`.
    """

    def __init__(self, roles: Mapping[str, int]) -> None:
        self._roles = dict(roles)
        self._started_at = time.monotonic()
        self._before = {role: cpu_seconds(pid) for role, pid in self._roles.items()}
        self.wall_seconds = 0.0

    def stop(self) -> dict[str, float]:
        used = {role: cpu_seconds(pid) - self._before[role] for role, pid in self._roles.items()}
        self.wall_seconds = time.monotonic() - self._started_at
        return used
