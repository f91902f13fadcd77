"""Players whose line was lost: the keys that bring them back, and the time after which nobody waits for them."""

import secrets
from collections.abc import Callable

import trio

from mudserver.config import Limits
from mudserver.game.ids import PlayerId
from mudserver.wire.dialects import Dialect, JsonDialect

_SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
_WORD_SYLLABLES = 7


def random_key(dialect: Dialect) -> str:
    """A key for a client of this dialect: 128 bits for a program, for a person a word of 42 bits that can be typed."""
    if isinstance(dialect, JsonDialect):
        return secrets.token_urlsafe(16)
    return "".join(secrets.choice(_SYLLABLES) for _ in range(_WORD_SYLLABLES))


class Absences:
    """Who may come back by which key, and who is away until when. A key opens once.

    `on_given_up` is called with each player who did not come back within `linkdead_seconds`.
    """

    def __init__(
        self,
        limits: Limits,
        on_given_up: Callable[[PlayerId], None],
        new_key: Callable[[Dialect], str] = random_key,
    ) -> None:
        self._limits = limits
        self._on_given_up = on_given_up
        self._new_key = new_key
        self._player_by_key: dict[str, PlayerId] = {}
        self._key_by_player: dict[PlayerId, str] = {}
        self._waits: dict[PlayerId, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watches the clock for those who are away, until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def issue_key(self, player_id: PlayerId, dialect: Dialect) -> str:
        """A fresh key for this player; an older one is void."""
        self._void_key(player_id)
        key = self._new_key(dialect)
        self._player_by_key[key] = player_id
        self._key_by_player[player_id] = key
        return key

    def redeem(self, key: str) -> PlayerId | None:
        """Whose key it is; None if nobody's. It opens this once."""
        player_id = self._player_by_key.get(key)
        if player_id is not None:
            self._void_key(player_id)
        return player_id

    def begin(self, player_id: PlayerId) -> None:
        """The player is away from now on. Nobody waits for them if this does not run any more: the node is ending."""
        if self._nursery is None:
            return
        self._waits[player_id] = scope = trio.CancelScope()
        self._nursery.start_soon(self._wait, player_id, scope)

    def end(self, player_id: PlayerId) -> bool:
        """The player is away no more. Says whether they were."""
        scope = self._waits.pop(player_id, None)
        if scope is not None:
            scope.cancel()
        return scope is not None

    def forget(self, player_id: PlayerId) -> None:
        """The player has left the game; nothing brings them back."""
        self._void_key(player_id)
        self.end(player_id)

    def away(self) -> list[PlayerId]:
        """Who is away now."""
        return list(self._waits)

    async def _wait(self, player_id: PlayerId, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(self._limits.linkdead_seconds)
            self._on_given_up(player_id)

    def _void_key(self, player_id: PlayerId) -> None:
        key = self._key_by_player.pop(player_id, None)
        if key is not None:
            del self._player_by_key[key]
