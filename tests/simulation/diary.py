"""What everybody did and saw: summed up in a digest, and remembered for a while in case it must be told."""

import hashlib
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import trio

LINES_KEPT = 400
"""For each player; somebody in a busy place fills it in a few virtual minutes."""

THE_WORLD = "(world)"
"""Under whose name the bus, the clock and the weather are remembered."""


class Note(NamedTuple):
    """One line: virtual seconds, a running number, who, 'does', 'sees' or '', and what."""

    seconds: float
    number: int
    who: str
    how: str
    what: str


class Diary:
    """Keeps the last notes of each player. `seen` counts the messages that clients got."""

    def __init__(self) -> None:
        self.seen = 0
        self._number = 0
        self._notes: dict[str, deque[Note]] = {}
        self._hash = hashlib.blake2b(digest_size=8)

    def did(self, who: str, what: str) -> None:
        """A player did something."""
        self._note(who, "does", what)

    def saw(self, who: str, message: str) -> None:
        """A client was shown a message. Goes into the digest, with the time."""
        self.seen += 1
        self._hash.update(f"{trio.current_time():.6f}|{who}|{message}\n".encode())
        self._note(who, "sees", message)

    def happened(self, what: str) -> None:
        """Something happened to the world."""
        self._note(THE_WORLD, "", what)

    @property
    def digest(self) -> str:
        """Of every message every client saw, with time and order: the same seed gives the same digest."""
        return self._hash.hexdigest()

    def story(self, who: Iterable[str], since: float) -> str:
        """What these players did and saw from `since` on (virtual seconds), and what befell the world."""
        notes: list[Note] = []
        for name in dict.fromkeys((*who, THE_WORLD)):
            notes += [note for note in self._notes.get(name, ()) if note.seconds >= since]
        return "\n".join(
            f"  {note.seconds:12.3f}  {note.who:<10} {note.how:<4}  {note.what.strip()!a}" for note in sorted(notes)
        )

    def _note(self, who: str, how: str, what: str) -> None:
        notes = self._notes.get(who)
        if notes is None:
            notes = self._notes[who] = deque(maxlen=LINES_KEPT)
        self._number += 1
        notes.append(Note(trio.current_time(), self._number, who, how, what))
