"""A broker in memory: the same contract as NATS without a socket, for a mocked clock and for reproducible worlds."""

from collections.abc import Iterable

import trio

from mudserver.broker.base import Incoming, LinkLost, LinkUp, Message, Receiver


class MemoryHub:
    """What stands for the nats-server: connects any number of MemoryBrokers. `messages` counts what passed."""

    def __init__(self) -> None:
        self._doors: list[MemoryBroker] = []
        self.messages = 0

    def connect(self) -> "MemoryBroker":
        """A door for one node."""
        door = MemoryBroker(self)
        self._doors.append(door)
        return door

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        """Hands a message to every door that subscribed to its subject, as anybody on the bus could."""
        self.messages += 1
        for door in self._doors:
            door.receive_nowait(subject, payload)


class MemoryBroker:
    """A Broker over a MemoryHub. `lose_link` and `restore_link` play the outages."""

    def __init__(self, hub: MemoryHub) -> None:
        self._hub = hub
        self._subscriptions: dict[str, list[str]] = {}
        self._linked = False
        # Unbounded: the twin has no socket whose buffer would fill, and tests bound what they send.
        self._waiting: list[Incoming] = []
        self._come = trio.Event()

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        if self._linked:
            self._hub.publish_nowait(subject, payload)

    def subscribe_nowait(self, subject: str) -> None:
        self._subscriptions[subject] = subject.split(".")

    def unsubscribe_nowait(self, subject: str) -> None:
        self._subscriptions.pop(subject, None)

    async def run(self, receive: Receiver, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.restore_link()
        task_status.started()
        try:
            while True:
                await self._come.wait()
                self._come = trio.Event()
                self._hand_over(receive)
        finally:
            self._linked = False

    def _hand_over(self, receive: Receiver) -> None:
        waiting, self._waiting = self._waiting, []
        receive(waiting)

    def _put(self, incoming: Incoming) -> None:
        self._waiting.append(incoming)
        self._come.set()

    def receive_nowait(self, subject: str, payload: bytes) -> None:
        """Takes a message from the hub: once for each matching subscription, as a nats-server sends it."""
        if not self._linked:
            return
        tokens = subject.split(".")
        for pattern in self._subscriptions.values():
            if matches(pattern, tokens):
                self._put(Message(subject, payload))

    def lose_link(self, reason: str = "taken down") -> None:
        if self._linked:
            self._linked = False
            self._put(LinkLost(reason))

    def restore_link(self) -> None:
        if not self._linked:
            self._linked = True
            self._put(LinkUp("memory"))


def matches(pattern: Iterable[str], tokens: list[str]) -> bool:
    """Whether a subject's tokens match a subscription's (`*` is one token, `>` one or more at the end)."""
    position = 0
    for position, wanted in enumerate(pattern, 1):
        if wanted == ">":
            return len(tokens) >= position
        if position > len(tokens) or wanted not in ("*", tokens[position - 1]):
            return False
    return position == len(tokens)
