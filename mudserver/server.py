"""The root nursery: who runs, who ends with whom, and the two phases of shutdown."""

import json
import logging
import os
import resource
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from mudserver.broker.base import Broker
from mudserver.broker.embedded import open_embedded_broker
from mudserver.broker.nats import NatsBroker, without_password
from mudserver.config import Config
from mudserver.errors import StartupError
from mudserver.game.areas import SHIPPED_WORLD, load_map
from mudserver.game.world import Map, World
from mudserver.metrics import NodeMetrics
from mudserver.realtime.absences import random_key
from mudserver.realtime.audience import Audience
from mudserver.realtime.connection import SHUTDOWN
from mudserver.realtime.connection_manager import ConnectionManager
from mudserver.realtime.event_publisher import EventPublisher
from mudserver.realtime.keepalive import run_keepalive
from mudserver.realtime.nats_message_handler import NATSMessageHandler
from mudserver.realtime.session import Sessions
from mudserver.realtime.stamps import Stamps, WallClock
from mudserver.services.event_log import EventLog
from mudserver.services.game_tick_service import GameTickService
from mudserver.services.garbage import GarbageKeeper
from mudserver.transport.admin import Page, Pages, serve_admin
from mudserver.transport.admission import Admission
from mudserver.transport.listener import bind, serve_connections
from mudserver.transport.turnstile import Turnstile
from mudserver.wire.dialects import Dialect
from mudserver.wire.subjects import Subjects

logger = logging.getLogger(__name__)

DEFAULT_ADMIN_PORT = 4001

FILE_DESCRIPTORS_WANTED = 65_536
"""Room for the largest world we have measured, several times over."""

FILE_DESCRIPTORS_KEPT = 64
"""For everything that is no player: the broker, logs, listening sockets, admin requests, the interpreter."""

FAREWELL = "The server stops. The world will still be here; come back soon."


def new_node_name() -> str:
    """A name for this process that no other node on the bus has."""
    return f"n{secrets.token_hex(4)}"


class Node:
    """One server process, wired up: everything between a door to a broker and the streams of players.

    It opens no socket itself, so that it runs alike over real sockets and over memory streams on a mocked clock.
    """

    def __init__(
        self,
        config: Config,
        map_: Map,
        broker: Broker,
        node: str,
        now: WallClock = time.time,
        new_key: Callable[[Dialect], str] = random_key,
    ) -> None:
        limits = config.limits
        stamps = Stamps(now)
        subjects = Subjects(config.nats_prefix)
        self.limits = limits
        self.broker = broker
        self.world = World(map_, node)
        self.audience = Audience(stamps, limits, self.world.is_inside)
        self.publisher = EventPublisher(broker, subjects, self.audience, stamps, node, limits)
        self.handler = NATSMessageHandler(broker, subjects, self.publisher, self.audience, self.world, limits)
        self.manager = ConnectionManager(
            self.world, self.audience, self.publisher, self.handler, stamps, limits, new_key
        )
        self.ticks = GameTickService(config.tick_seconds, self.world, self.publisher.publish, now)
        admission = Admission(limits, config.proxies, trio.current_time)
        self.sessions = Sessions(
            self.manager, stamps, limits, admission, Turnstile(errands=self.publisher), config.origins
        )

        self.event_log = EventLog(config.event_log, subjects, limits) if config.event_log else None
        if self.event_log is not None:
            self.publisher.observe(self.event_log.observe)

        self.metrics = NodeMetrics(
            self.world, self.audience, self.publisher, self.handler, self.sessions, self.ticks, self.event_log
        )
        self._registry = CollectorRegistry()
        self._registry.register(self.metrics)
        self.is_stopping = False

    def show_what_is_on_its_way(self) -> None:
        """Everything said so far reaches this node's players now; its copies from the broker are late ones then."""
        self.publisher.hand_out_awaited()
        self.audience.deliver_waiting()

    def pages(self) -> Pages:
        """What the admin port answers."""
        return {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics_page}

    def _healthz(self) -> Page:
        problem = self.metrics.health()
        return Page(503, problem) if problem else Page(200, "ok: the loops turn")

    def _readyz(self) -> Page:
        if self.is_stopping:
            return Page(503, "stopping")
        missing = self.metrics.degradation()
        return Page(200, f"degraded: {missing}" if missing else "ready")

    def _metrics_page(self) -> Page:
        return Page(200, generate_latest(self._registry).decode(), CONTENT_TYPE_PLAIN_0_0_4)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The bridge, the handler and the tick loop, until cancelled. Started once the broker is linked.

        Raises StartupError if the broker cannot be reached in time or the event log cannot be written.
        """
        async with trio.open_nursery() as nursery:
            if self.event_log is not None:
                await nursery.start(self.event_log.run)
            await nursery.start(self.handler.run)
            await nursery.start(self.manager.absences.run)
            await nursery.start(self.broker.run, self.handler.receive)
            nursery.start_soon(self.ticks.run)
            nursery.start_soon(run_keepalive, self.sessions, self.limits)
            task_status.started()


@dataclass(frozen=True, slots=True)
class Ready:
    """Where players connect and which broker carries the events. `nats_url` holds the password, if there is one."""

    host: str
    port: int
    nats_url: str
    pid: int


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a service manager, a terminal that was closed."""


async def serve(config: Config, announce: Callable[[Ready], None] = lambda ready: None) -> None:
    """Runs the whole server until a signal asks it to stop; `announce` is called once players can connect.

    Raises StartupError or WorldError if it cannot start.
    """
    with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
        stop = _Stop()
        async with trio.open_nursery() as watch:
            watch.start_soon(stop.watch, signals)
            with stop.at_once, _fresh_ready_file(config.ready_file):
                await _serve_until(stop, config, announce)
            watch.cancel_scope.cancel()


class _Stop:
    """What SIGINT, SIGTERM and SIGHUP ask for. The first asks politely, the second cuts that short.

    Until `is_ready` there is nobody to be polite to, so the first is enough.
    """

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.at_once = trio.CancelScope()
        self.is_ready = False

    async def watch(self, signals: AsyncIterator[int]) -> None:
        async for received in signals:
            again = self.asked.is_set()
            logger.info("%s%s: stopping", signal.Signals(received).name, " again" if again else "")
            self.asked.set()
            if again or not self.is_ready:
                self.at_once.cancel()


async def _serve_until(stop: _Stop, config: Config, announce: Callable[[Ready], None]) -> None:
    """The server from start to end. Connections, acceptor and everything else are nurseries within one another, so
    that each outlives those who need it.
    """
    map_ = load_map(config.world or SHIPPED_WORLD)
    connections_max = min(config.limits.connections_max, _room_for_connections())
    listening = bind(config.host, config.port)
    admin_listening = _bind_admin(config)
    node_name = new_node_name()
    async with _broker_url(config) as url:
        broker = NatsBroker(url, node_name, config.nats_prefix, config.limits)
        node = Node(config, map_, broker, node_name)
        async with trio.open_nursery() as root:
            await root.start(node.run)
            root.start_soon(GarbageKeeper(node.sessions.closes.total).run)
            root.start_soon(serve_admin, admin_listening, node.pages(), config.limits)
            if admin_listening:
                logger.info("admin pages at http://%s:%d/healthz", *admin_listening[0].getsockname()[:2])
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as acceptor:
                    accept = (listening, node.sessions.run_session, connections, connections_max)
                    acceptor.start_soon(serve_connections, *accept, node.sessions.turnstile)
                    host, port = listening[0].getsockname()[:2]
                    ready = Ready(host, port, url(), os.getpid())
                    if config.ready_file:
                        _write_ready_file(config.ready_file, ready)
                    stop.is_ready = True
                    announce(ready)
                    await stop.asked.wait()
                    acceptor.cancel_scope.cancel()
                # From here on nobody comes in; those who are here hear why, and have a little time to go.
                node.is_stopping = True
                node.show_what_is_on_its_way()
                node.sessions.end_all(SHUTDOWN, FAREWELL)
                node.manager.sign_out_absent()
                connections.cancel_scope.deadline = trio.current_time() + config.limits.grace_seconds
            root.cancel_scope.cancel()


@asynccontextmanager
async def _broker_url(config: Config) -> AsyncIterator[Callable[[], str]]:
    """The address of the broker to use: the one we were given, or that of an embedded one."""
    if config.nats_url is not None:
        given = config.nats_url
        yield lambda: given
        return
    async with open_embedded_broker(config.data_dir, config.nats_prefix, config.limits) as embedded:
        yield lambda: embedded.url


def _room_for_connections() -> int:
    """How many connections the limit on file descriptors leaves room for; takes as many as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILE_DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILE_DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return FILE_DESCRIPTORS_WANTED if soft == resource.RLIM_INFINITY else max(1, soft - FILE_DESCRIPTORS_KEPT)


def _bind_admin(config: Config) -> list[socket.socket]:
    """The sockets of the admin port; none if it is off, or if nobody asked for it and it is taken."""
    if config.admin_port == "none":
        return []
    if config.admin_port is not None:
        return bind(config.admin_host, config.admin_port, option="--admin-")
    try:
        return bind(config.admin_host, DEFAULT_ADMIN_PORT, option="--admin-")
    except StartupError as error:
        logger.warning("no admin port: %s", error)
        return []


@contextmanager
def _fresh_ready_file(path: Path | None) -> Iterator[None]:
    """Nobody is to read of a server that is gone: what an earlier one left goes first, and ours at the end."""
    if path is None:
        yield
        return
    with suppress(OSError):  # if it cannot be written either, that is told in time
        path.unlink()
    try:
        yield
    finally:
        with suppress(OSError, ValueError, KeyError):
            if json.loads(path.read_bytes())["pid"] == os.getpid():
                path.unlink()


def _write_ready_file(path: Path, ready: Ready) -> None:
    """All at once or not at all; private, because the NATS address holds a password. Raises StartupError."""
    text = json.dumps({"host": ready.host, "port": ready.port, "nats_url": ready.nats_url, "pid": ready.pid})
    temporary = path.with_name(f".{path.name}.{ready.pid}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
        temporary.replace(path)
    except OSError as error:
        raise StartupError(f"--ready-file {path}: cannot be written: {error.strerror}.") from None


def describe(ready: Ready, config: Config) -> str:
    """The one line that says the server is up, for a person."""
    host = f"[{ready.host}]" if ":" in ready.host else ready.host
    url = f"ws://{host}:{ready.port}/"
    kind = "broker" if config.nats_url else "embedded broker"
    return f"Ready: connect to {url} (try: scripts/play {url}), type guest; {kind} {without_password(ready.nats_url)}"
