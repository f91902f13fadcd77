"""Says on standard error what long work is at: one line that is overwritten on a terminal, seldom lines elsewhere."""

import sys
import time
from typing import Final

_TERMINAL_SECONDS: Final = 0.1
_LOG_SECONDS: Final = 5.0


class Progress:
    """A progress line. `say` may be called as often as one likes; `clear` before printing anything else."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._next_at = 0.0

    def say(self, text: str) -> None:
        now = time.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + (_TERMINAL_SECONDS if self._on_terminal else _LOG_SECONDS)
        if self._on_terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        self._next_at = 0.0
        if self._on_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
