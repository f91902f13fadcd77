"""NATSMessageHandler: subscribes while somebody listens, reads what comes in with suspicion, routes it."""

import logging
from collections import Counter
from collections.abc import Sequence

import trio

from mudserver.broker.base import Broker, Incoming, LinkLost, LinkUp, Message
from mudserver.config import Limits
from mudserver.errors import MalformedMessage
from mudserver.game.events import GameTick, InRoom, Notice, ToPlayer
from mudserver.game.ids import PlayerId, RoomId
from mudserver.game.world import World
from mudserver.realtime.audience import Audience
from mudserver.realtime.event_publisher import EventPublisher
from mudserver.realtime.rooms import Channel, RoomChannel
from mudserver.wire.envelope import decode_event, open_payload, whose
from mudserver.wire.subjects import Subjects

logger = logging.getLogger(__name__)

SILENCE = "The aether falls silent; you hear only those nearby."
VOICES = "The aether hums again, full of distant voices."


class NATSMessageHandler:
    """Between the broker and this node's players. `counts`: received, own, late_copies; `dropped`: by reason."""

    def __init__(
        self,
        broker: Broker,
        subjects: Subjects,
        publisher: EventPublisher,
        audience: Audience,
        world: World,
        limits: Limits,
    ) -> None:
        self._broker = broker
        self._subjects = subjects
        self._publisher = publisher
        self._audience = audience
        self._world = world
        self._limits = limits
        self._rooms: trio.Nursery | None = None
        self._routed: dict[Channel, None] = {}
        """Channels in which something may wait that nobody has been shown yet."""
        self._lane = ""
        self._lost_at: float | None = None
        self._handed_out_before = 0
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs the channels until cancelled. Started once this node listens to the world at large."""
        async with trio.open_nursery() as self._rooms:
            self._rooms.start_soon(self._audience.everywhere.run)
            self._broker.subscribe_nowait(self._subjects.everywhere)
            task_status.started()
            await trio.sleep_forever()

    def receive(self, batch: Sequence[Incoming]) -> None:
        """Takes what has come from the broker, and shows it to whoever hears it: a Receiver."""
        for incoming in batch:
            before, self._lane = self._lane, self._lane_of(incoming)
            if self._lane != before:
                self._deliver_all()
            self._take(incoming)
        self._deliver_some()

    def _deliver_all(self) -> None:
        """Delivers what was routed so far."""
        for channel in list(self._routed):
            self._deliver(channel)

    def _deliver_some(self) -> None:
        """The same for so many listeners that nobody else waits long; the others are served when those had turns."""
        served = 0
        for channel in list(self._routed):
            if served > self._limits.served_at_once_max:
                channel.deliver_soon()
            else:
                served += self._deliver(channel)

    def _deliver(self, channel: Channel) -> int:
        """Delivers what waits in a channel, but leaves a crowd to its own task. Returns how many were served."""
        del self._routed[channel]
        if channel.is_crowded:
            channel.deliver_soon()
            return 0
        return len(channel.listeners) if channel.deliver_waiting() else 0

    def _lane_of(self, incoming: Incoming) -> str:
        """What is in different lanes may be heard by the same person in two channels, and comes in order only if what
        is in the first is delivered before the other gets anything (a crowd's is not, and may be overtaken). Talk in
        all rooms is one lane: it stays within each room, among people who have been there before.
        """
        if not isinstance(incoming, Message):
            return "link"
        return "talk" if self._subjects.is_within_room(incoming.subject) else incoming.subject.rpartition(".")[0]

    def _take(self, incoming: Incoming) -> None:
        match incoming:
            case Message(subject, payload):
                self._receive(subject, payload)
            case LinkUp(url):
                self._link_up(url)
            case LinkLost(reason):
                self._link_lost(reason)

    def wake(self, room_id: RoomId) -> None:
        """Makes sure that the room is subscribed and its channel runs. Call before the arrival is published."""
        if room_id in self._audience.rooms:
            return
        assert self._rooms is not None, "the handler runs before anybody signs in"
        self._broker.subscribe_nowait(self._subjects.of_room(room_id))
        self._rooms.start_soon(self._run_room, self._audience.open_room(room_id))

    async def _run_room(self, room: RoomChannel) -> None:
        await room.run_until_asleep(self._limits.room_linger_seconds, self._is_needed)
        self._audience.close_room(room.room_id)
        self._broker.unsubscribe_nowait(self._subjects.of_room(room.room_id))

    def _is_needed(self, room_id: RoomId) -> bool:
        """Whether somebody is in the room, or an event of ours has not come back to it yet."""
        return self._world.is_inhabited(room_id) or self._publisher.awaits(InRoom(room_id))

    def host(self, player_id: PlayerId) -> None:
        """Listens for what is told to this player alone."""
        self._broker.subscribe_nowait(self._subjects.of_player(player_id))

    def unhost(self, player_id: PlayerId) -> None:
        """The player is gone, and whatever they are still told with them."""
        self._publisher.forget(ToPlayer(player_id))
        self._broker.unsubscribe_nowait(self._subjects.of_player(player_id))

    def _receive(self, subject: str, payload: bytes) -> None:
        self.counts["received"] += 1
        try:
            self._route(subject, payload)
        except MalformedMessage as error:
            self.dropped[error.reason] += 1
            logger.warning("dropped a NATS message on %s: bad %s", ascii(subject[:200]), error.reason)

    def _route(self, subject: str, payload: bytes) -> None:
        if len(payload) > self._limits.bus_payload_bytes_max:
            raise MalformedMessage("size")
        opened = open_payload(payload)
        if opened.node == self._world.node:
            event = self._publisher.take_receipt(opened.sequence_number)
            if event is None:
                self.counts["late_copies"] += 1
                return
            self.counts["own"] += 1
        else:
            to, event_type = self._subjects.parse(subject)
            event = decode_event(opened, to, event_type).event
            if isinstance(event.fact, GameTick):
                return  # every node has its own; players feel that of the node they are on
            if not self._world.players.keys().isdisjoint((event.actor, whose(event.fact))):
                raise MalformedMessage("actor")  # only we say what our own players do
        if (channel := self._audience.route(event)) is not None:
            self._routed[channel] = None

    def _link_up(self, url: str) -> None:
        self._publisher.link_up()
        if self._lost_at is None:
            logger.info("linked to the broker %s", url)
            return
        seconds = trio.current_time() - self._lost_at
        handed_out = self._publisher.handed_out - self._handed_out_before
        logger.info("linked to the broker %s again after %.1f s; shown here only: %d events", url, seconds, handed_out)
        self._lost_at = None
        self._announce(VOICES)

    def _link_lost(self, reason: str) -> None:
        self._lost_at = trio.current_time()
        self._handed_out_before = self._publisher.handed_out
        stranded = self._publisher.link_lost()
        logger.warning(
            "the link to the broker is lost: %s; %d events on their way were shown here only, and so is what comes",
            reason,
            stranded,
        )
        self._announce(SILENCE)

    def _announce(self, text: str) -> None:
        """Tells this node's players, in line with the events of the world at large."""
        self._audience.everywhere.post(Notice(text))
        self._routed[self._audience.everywhere] = None
