"""What the rest of the server knows of a message broker: put, and take what comes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import trio


class Message(NamedTuple):
    """What came in by a subscription."""

    subject: str
    payload: bytes


class LinkUp(NamedTuple):
    """From here on messages flow: every subscription asked for so far is in force at the broker."""

    url: str


class LinkLost(NamedTuple):
    """No message published since the last LinkUp and not yet seen to come back will come back, except by accident."""

    reason: str


Incoming = Message | LinkUp | LinkLost

Receiver = Callable[[Sequence[Incoming]], None]
"""Takes what has come in, in order. Must not wait. What it raises ends the broker's `run`: it is a bug."""


class Broker(Protocol):
    """A door to a broker. `run` is a task of the server; the `_nowait` methods only put and never wait or raise.

    Publishes and subscribes take effect in the order they are put. Subscriptions outlive a lost link: they are in
    force again at the next LinkUp. Publishes do not: what was not yet sent when the link was lost is thrown away.
    """

    def publish_nowait(self, subject: str, payload: bytes) -> None: ...

    def subscribe_nowait(self, subject: str) -> None: ...

    def unsubscribe_nowait(self, subject: str) -> None: ...

    async def run(self, receive: Receiver, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps the link up until cancelled. Reports started at the first LinkUp; raises StartupError if none comes.

        Calls `receive`, never from within a `_nowait` method, with messages in the order of each subscription, and
        LinkUp and LinkLost in their right places among them. It is a call and no queue, because a scheduler pass more
        on the way of every event is what players feel when the server is busy.
        """
        ...
