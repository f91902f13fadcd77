"""EventPublisher: every event leaves the game through here, to NATS and to nobody's screen directly.

An event of ours that comes back by our own subscription is its receipt, and only then is it shown. While the link is
down the publisher hands events to this node's players itself; when the link is declared lost, it does so with every
event that has no receipt, in their order. A copy that comes in later finds no open receipt and is dropped.
"""

import logging
from collections import Counter
from collections.abc import Callable

import trio

from mudserver.broker.base import Broker
from mudserver.config import Limits
from mudserver.game.events import Address, Event
from mudserver.realtime.audience import Audience
from mudserver.realtime.histogram import Histogram
from mudserver.realtime.stamps import Stamps
from mudserver.wire.envelope import Stamped, encode_payload, encode_place, event_type_of
from mudserver.wire.subjects import Subjects

logger = logging.getLogger(__name__)


Observer = Callable[[Stamped], None]
"""Sees every event as it is published. Must neither wait nor raise."""


class EventPublisher:
    """Publishes the game's events.

    `published` counts them by type, `handed_out` those that did not go by way of the broker, `failures` those that
    could not be written; `latency` is from publishing to coming back.
    """

    def __init__(
        self, broker: Broker, subjects: Subjects, audience: Audience, stamps: Stamps, node: str, limits: Limits
    ) -> None:
        self._broker = broker
        self._subjects = subjects
        self._audience = audience
        self._stamps = stamps
        self._node = node
        self._limits = limits
        self._awaited: dict[int, tuple[Event, float]] = {}
        self._all_back = trio.Event()
        self._linked = False
        self.published: Counter[str] = Counter()
        self.handed_out = 0
        self.failures = 0
        self.latency = Histogram()
        self._observers: list[Observer] = []

    def observe(self, observer: Observer) -> None:
        """Has `observer` called with every event as it is published."""
        self._observers.append(observer)

    @property
    def is_linked(self) -> bool:
        """Whether events go by way of the broker now."""
        return self._linked

    @property
    def awaited(self) -> int:
        """Events on their way through the broker."""
        return len(self._awaited)

    async def wait_until_back(self) -> None:
        """Returns when no event is on its way through the broker."""
        while self._awaited:
            await self._all_back.wait()

    def _note_if_all_are_back(self) -> None:
        if not self._awaited:
            self._all_back.set()
            self._all_back = trio.Event()

    def publish(self, event: Event) -> None:
        """Sends an event on its way. Never waits and never raises into the game: what fails is logged and counted."""
        event_type = event_type_of(event.fact)
        self.published[event_type] += 1
        stamped = Stamped(event, self._node, self._stamps.next_number(), self._stamps.timestamp())
        for observer in self._observers:
            observer(stamped)
        if not self._linked:
            self._hand_out(event)
            return
        try:
            payload = encode_payload(stamped)
            subject = self._subjects.subject(event.to, event_type)
        except (TypeError, ValueError) as error:  # what msgspec and str.encode raise
            self._report_failure(event_type, str(error))
            return
        if len(payload) > self._limits.bus_payload_bytes_max:
            self._report_failure(event_type, f"its payload has {len(payload)} bytes; only this node's players see it")
            payload = encode_place(stamped)
        if self._audience.hears(event):
            self._awaited[stamped.sequence_number] = (event, trio.current_time())
        self._broker.publish_nowait(subject, payload)

    def take_receipt(self, sequence_number: int) -> Event | None:
        """The event of ours with that number, which has come back; None if it was shown already."""
        event, published_at = self._awaited.pop(sequence_number, (None, 0.0))
        if event is not None:
            self.latency.observe(trio.current_time() - published_at)
            self._note_if_all_are_back()
        return event

    def awaits(self, to: Address) -> bool:
        """Whether an event to that address is on its way through the broker."""
        return any(event.to == to for event, _ in self._awaited.values())

    def forget(self, to: Address) -> None:
        """Nobody here will hear what is on its way to that address; it needs no receipt any more."""
        for number in [number for number, (event, _) in self._awaited.items() if event.to == to]:
            del self._awaited[number]
        self._note_if_all_are_back()

    def link_up(self) -> None:
        """From here on events go by way of the broker."""
        self._linked = True

    def link_lost(self) -> int:
        """From here on events go to this node's players only, those still on their way first; returns their number."""
        self._linked = False
        return self.hand_out_awaited()

    def hand_out_awaited(self) -> int:
        """Shows this node's players what is still on its way; returns how many events. Their copies come too late."""
        stranded = [event for event, _ in self._awaited.values()]
        self._awaited.clear()
        self._note_if_all_are_back()
        for event in stranded:
            self._hand_out(event)
        return len(stranded)

    def _hand_out(self, event: Event) -> None:
        self.handed_out += 1
        if (channel := self._audience.route(event)) is not None:
            channel.deliver_soon()

    def _report_failure(self, event_type: str, why: str) -> None:
        self.failures += 1
        logger.warning("an event %s could not be published: %s", event_type, ascii(why))
