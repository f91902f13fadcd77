"""A broker in memory with the weather of a network: delays, doubled and late copies, links that hang or break.

What it keeps of NATS's promises: the order within one subscription, everything while the link holds, and nothing after
it broke until LinkLost is reported. What it makes use of: subscriptions overtake each other, an own message may come
twice, and one that was taken for lost may come after the link is back.
"""

import heapq
import random
from contextlib import suppress
from typing import Protocol

import trio

from mudserver.broker.base import Receiver
from mudserver.broker.memory import MemoryBroker, MemoryHub, matches
from mudserver.errors import MalformedMessage
from mudserver.wire.envelope import open_payload

DELAYS_SECONDS = (0.0, 0.0, 0.0, 0.0, 0.0, 1 / 64, 1 / 8, 1 / 4, 1 / 2)
SHARE_DOUBLED = 0.03
SHARE_LATE = 0.3
"""Of the messages lost with a link, how many turn up after it is back."""
FIRST_DELAY_SECONDS = 1 / 64
"""Nothing comes in at the very instant at which the link is back."""


class Watcher(Protocol):
    """Who sees what the broker puts into the stream of incoming things, as it does."""

    def message_put(self, subject: str, payload: bytes) -> None: ...

    def unsubscribed(self, subject: str) -> None: ...

    def link_lost_put(self) -> None: ...

    def link_up_put(self) -> None: ...


class StormyHub(MemoryHub):
    """A hub whose doors are StormyBrokers."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice

    def connect(self) -> "StormyBroker":
        door = StormyBroker(self, self._dice)
        self._doors.append(door)
        return door


class StormyBroker(MemoryBroker):
    """A MemoryBroker whose messages take their time. `node` is whose copies may be doubled; `watcher` looks on."""

    def __init__(self, hub: MemoryHub, dice: random.Random) -> None:
        super().__init__(hub)
        self.hub = hub
        self._dice = dice
        self._is_deaf = False
        self._on_their_way: list[tuple[float, int, str, bytes]] = []
        self._number = 0
        self._last_due: dict[str, float] = {}
        self._not_before = 0.0
        self._lost: list[tuple[str, bytes]] = []
        self._news = trio.Event()
        self.node = ""
        self.watcher: Watcher | None = None
        self.doubled = 0
        self.late = 0

    @property
    def subscriptions(self) -> set[str]:
        return set(self._subscriptions)

    @property
    def is_linked(self) -> bool:
        return self._linked

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        if self._is_deaf:
            self._lose(subject, payload)
        else:
            super().publish_nowait(subject, payload)

    def unsubscribe_nowait(self, subject: str) -> None:
        super().unsubscribe_nowait(subject)
        pattern = subject.split(".")
        self._on_their_way = [each for each in self._on_their_way if not matches(pattern, each[2].split("."))]
        heapq.heapify(self._on_their_way)
        self._last_due.pop(subject, None)
        if self.watcher is not None:
            self.watcher.unsubscribed(subject)

    def receive_nowait(self, subject: str, payload: bytes) -> None:
        """Takes a message from the hub, to be put some time later, but in order."""
        if not self._linked or self._is_deaf or not self._is_subscribed(subject):
            return
        self._schedule(subject, payload, self._dice.choice(DELAYS_SECONDS))
        if self._dice.random() < SHARE_DOUBLED and self._is_own(payload):
            self.doubled += 1
            self._schedule(subject, payload, self._dice.choice((0.0, 1 / 8, 3.0)))

    def _is_subscribed(self, subject: str) -> bool:
        return subject.rpartition(".")[0] + ".*" in self._subscriptions

    def _is_own(self, payload: bytes) -> bool:
        """Whether it is one of our node's events, which knows its own copies apart."""
        with suppress(MalformedMessage):
            return open_payload(payload).node == self.node
        return False

    def _schedule(self, subject: str, payload: bytes, delay: float) -> None:
        subscription = subject.rpartition(".")[0] + ".*"
        now = trio.current_time()
        due = max(now + delay, self._last_due.get(subscription, 0.0), self._not_before)
        if due <= now:
            self._put_due()  # after a pause, older ones may not have been put yet
            self._put_now(subject, payload)
            return
        self._last_due[subscription] = due
        self._number += 1
        heapq.heappush(self._on_their_way, (due, self._number, subject, payload))
        self._news.set()

    def _put_due(self) -> None:
        while self._on_their_way and self._on_their_way[0][0] <= trio.current_time():
            _, _, subject, payload = heapq.heappop(self._on_their_way)
            self._put_now(subject, payload)

    def _put_now(self, subject: str, payload: bytes) -> None:
        if self._is_subscribed(subject) and self.watcher is not None:
            self.watcher.message_put(subject, payload)
        super().receive_nowait(subject, payload)

    async def run(self, receive: Receiver, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(super().run, receive)
            task_status.started()
            while True:
                self._news = trio.Event()
                due = self._on_their_way[0][0] if self._on_their_way else float("inf")
                with trio.move_on_at(due):
                    await self._news.wait()
                self._put_due()

    def go_deaf(self) -> None:
        """From here on nothing gets through, and nobody has noticed yet. What was on its way is lost."""
        self._is_deaf = True
        for _, _, subject, payload in sorted(self._on_their_way):
            self._lose(subject, payload)
        self._on_their_way.clear()
        self._last_due.clear()

    def lose_link(self, reason: str = "taken down") -> None:
        self.go_deaf()
        if self._linked and self.watcher is not None:
            self.watcher.link_lost_put()
        super().lose_link(reason)

    def restore_link(self) -> None:
        self._is_deaf = False
        if not self._linked and self.watcher is not None:
            self.watcher.link_up_put()
        super().restore_link()
        self._not_before = trio.current_time() + FIRST_DELAY_SECONDS
        lost, self._lost = self._lost, []
        for subject, payload in lost:
            if self._is_subscribed(subject) and self._is_own(payload):
                self.late += 1
                self._schedule(subject, payload, FIRST_DELAY_SECONDS)

    def _lose(self, subject: str, payload: bytes) -> None:
        if self._dice.random() < SHARE_LATE:
            self._lost.append((subject, payload))
