"""The node seen from outside: figures for Prometheus, read off the parts when asked for, and two words on health."""

from collections.abc import Iterator

import trio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from mudserver.game.world import World
from mudserver.realtime.audience import Audience
from mudserver.realtime.event_publisher import EventPublisher
from mudserver.realtime.nats_message_handler import NATSMessageHandler
from mudserver.realtime.session import Sessions
from mudserver.services.event_log import EventLog
from mudserver.services.game_tick_service import GameTickService

STALLED_SECONDS = 5.0
"""A loop that has not turned for so long counts as standing still."""


class NodeMetrics:
    """A prometheus_client collector over the parts of a node. Costs the game nothing until it is read."""

    def __init__(
        self,
        world: World,
        audience: Audience,
        publisher: EventPublisher,
        handler: NATSMessageHandler,
        sessions: Sessions,
        ticks: GameTickService,
        event_log: EventLog | None = None,
    ) -> None:
        self._world = world
        self._audience = audience
        self._publisher = publisher
        self._handler = handler
        self._sessions = sessions
        self._ticks = ticks
        self._event_log = event_log

    def collect(self) -> Iterator[Metric]:
        """Every figure, as it is now."""
        depth = sum(visit.connection.outbox_depth for visit in self._sessions.open)
        yield GaugeMetricFamily("mud_connections", "Open WebSockets", len(self._sessions.open))
        yield GaugeMetricFamily("mud_players", "Players in the game", len(self._world.players))
        yield GaugeMetricFamily("mud_rooms_awake", "Rooms subscribed to", len(self._audience.rooms))
        yield GaugeMetricFamily("mud_outbox_frames", "Frames waiting in all outboxes", depth)
        tasks = trio.lowlevel.current_statistics().tasks_living
        yield GaugeMetricFamily("mud_tasks", "Trio tasks alive", tasks)
        yield GaugeMetricFamily("mud_link_up", "1 while events go by way of the broker", int(self._publisher.is_linked))
        yield GaugeMetricFamily("mud_events_awaited", "Events on their way through the broker", self._publisher.awaited)
        yield GaugeMetricFamily("mud_tick_lateness_seconds", "How late the last tick was", self._ticks.lateness_seconds)
        yield CounterMetricFamily("mud_ticks", "Game ticks", self._ticks.tick_number)
        yield CounterMetricFamily("mud_ticks_skipped", "Ticks swallowed by overruns", self._ticks.skipped)
        yield CounterMetricFamily("mud_deliveries", "Frames put into outboxes", self._audience.deliveries())
        published = CounterMetricFamily("mud_events_published", "Events published, by type", labels=["event_type"])
        for event_type, count in self._publisher.published.items():
            published.add_metric([event_type], count)
        yield published
        yield CounterMetricFamily(
            "mud_events_handed_out", "Events shown without the broker", self._publisher.handed_out
        )
        yield CounterMetricFamily("mud_publish_failures", "Events that could not be written", self._publisher.failures)
        yield CounterMetricFamily("mud_messages_received", "NATS messages", self._handler.counts["received"])
        yield CounterMetricFamily("mud_late_copies", "Own events that came twice", self._handler.counts["late_copies"])
        dropped = CounterMetricFamily("mud_messages_dropped", "NATS messages dropped, by reason", labels=["reason"])
        for reason, count in self._handler.dropped.items():
            dropped.add_metric([reason], count)
        yield dropped
        closes = CounterMetricFamily("mud_connections_closed", "Connections that ended, by reason", labels=["reason"])
        for reason, count in self._sessions.closes.items():
            closes.add_metric([reason], count)
        yield closes
        if self._event_log is not None:
            yield CounterMetricFamily("mud_event_log_written", "Events in the event log", self._event_log.written)
            yield CounterMetricFamily("mud_event_log_dropped", "Events missing from it", self._event_log.dropped)
        latency = HistogramMetricFamily("mud_event_latency_seconds", "From publishing an event to its coming back")
        latency.add_metric([], self._publisher.latency.cumulative(), self._publisher.latency.total_seconds)
        yield latency

    def health(self) -> str | None:
        """What stands still; None while every loop turns."""
        if trio.current_time() - self._ticks.due > STALLED_SECONDS:
            return "the tick loop stands still"
        return None

    def degradation(self) -> str | None:
        """What players have to do without; None while nothing is missing."""
        return None if self._publisher.is_linked else "the broker is away: only this node's players hear each other"
