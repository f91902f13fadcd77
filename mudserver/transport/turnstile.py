"""What strangers and those in a hurry cost is put off: players in the game come first."""

import math
from typing import Protocol

import trio
from trio.testing import wait_all_tasks_blocked

TURN_SECONDS_MAX = 0.02
"""How long a turn may be put off while the server is busy: fifty are taken each second even then. A newcomer needs
three: to be let in (some at a time share that one), for the handshake, and for the name.
"""

ERRANDS_SECONDS_MAX = 0.001
"""How long a turn is put off for what is on its way: a broker beside us takes a fifth of it, and strangers need not
wait for one that is far away.
"""

HURRIED_SECONDS = 0.002
"""From one turn of the hurried to the next: twenty lines that somebody pastes are done in a twentieth of a second, and
those who flood a server together get a small share of it.
"""


class Errands(Protocol):
    """What players did that is on its way through the broker, and will have to be shown in a moment."""

    @property
    def awaited(self) -> int:
        """How many events."""

    async def wait_until_back(self) -> None:
        """Returns when there are none."""


class Turnstile:
    """Lets one through at a time, in the order they came, when the server has nothing else to do.

    For steps that somebody may cause more of than a player's next line: a handshake, a sign-in, a pile of lines, an odd
    frame. Two hundred of those at a time then make a long queue at the turnstile, and not a long wait for everybody in
    the game.
    """

    def __init__(self, errands: Errands | None = None) -> None:
        self._errands = errands
        self._lock = trio.Lock()
        self._hurried = trio.Lock()
        self._next_hurried_at = -math.inf

    async def wait_turn(self) -> None:
        """Returns when it is the caller's turn, which lasts until the caller waits for anything again."""
        try:
            self._lock.acquire_nowait()  # acquire() would let a whole pass of the scheduler go by even so
        except trio.WouldBlock:
            await self._lock.acquire()
        try:
            with trio.move_on_after(TURN_SECONDS_MAX):
                await wait_all_tasks_blocked()
                if self._errands is not None and self._errands.awaited:
                    with trio.move_on_after(ERRANDS_SECONDS_MAX):
                        await self._errands.wait_until_back()
                    await wait_all_tasks_blocked()
        finally:
            self._lock.release()

    async def wait_turn_of_hurried(self) -> None:
        """The same for who sends much at once, or odd frames. They have a queue of their own, and it moves slowly."""
        async with self._hurried:
            await trio.sleep_until(self._next_hurried_at)
            await self.wait_turn()
            self._next_hurried_at = trio.current_time() + HURRIED_SECONDS
