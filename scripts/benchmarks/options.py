"""What one run of the tool was asked to do, shared by all suites."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.progress import Progress

SCRIPTS_DIR = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Bench:
    """The means of a run: where to say what is going on, where to put files, and whether to be quick about it."""

    progress: Progress
    work_dir: Path
    """A scratch directory that is gone after the run."""
    quick: bool
    """Sizes that keep the whole run under a minute, at the price of noisier figures."""


@contextmanager
def open_bench(quick: bool) -> Iterator[Bench]:
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="mudserver-bench-") as work_dir:
        try:
            yield Bench(progress, Path(work_dir), quick)
        finally:
            progress.clear()


def child_environment() -> dict[str, str]:
    """Our environment for a child process: this working tree importable, no option of the server's set by chance."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUDSERVER_")}
    return inherited | {"PYTHONPATH": f"{SCRIPTS_DIR}{os.pathsep}{SCRIPTS_DIR.parent}"}
