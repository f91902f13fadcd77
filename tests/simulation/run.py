"""One simulation from the first connection to the last leak: the real server and everybody on it."""

import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio
from trio._core import _run as trio_run
from trio.testing import MockClock, wait_all_tasks_blocked

from mudserver.config import Config
from mudserver.server import Node
from mudserver.transport.listener import guard_connection
from mudserver.wire.dialects import Dialect, JsonDialect
from tests.players import QUIET_SECONDS
from tests.simulation.audit import GONE_SECONDS_MAX, Auditor, Baseline
from tests.simulation.bots import Bot, Stage
from tests.simulation.bus import StormyBroker, StormyHub
from tests.simulation.diary import Diary
from tests.simulation.far import FarNode
from tests.simulation.lines import ServerEnd
from tests.simulation.oracle import Oracle
from tests.simulation.plan import CROWD_SECONDS, GRID, START_SECOND, TICK_SECONDS, Plan
from tests.simulation.weather import Weather
from tests.simulation.world import simulated_map

AUDIT_EVERY_SECONDS = 7.25
"""Between them, from the grid to the grid, and seldom to a tick."""

STORY_SECONDS = 3.0
"""How much of what came before the matter a story tells."""

PASSES_MAX = 20_000
"""Passes of Trio's loop at one instant; a busy one takes a few hundred."""

GOODBYE_SECONDS = 2.0
"""Time for those who say goodbye at the end; the others just drop the line."""

NODE = "n1"


@dataclass(slots=True)
class Outcome:
    """What came of a plan: `broken` is the first broken promise ("" if none), `story` what those concerned did."""

    plan: Plan
    digest: str = ""
    broken: str = ""
    at_seconds: float = 0.0
    story: str = ""
    cpu_seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)


def simulate(plan: Plan) -> Outcome:
    """Plays it. The same plan gives the same outcome, to the last message of every client."""
    clock = MockClock(autojump_threshold=0)
    began = time.process_time()
    simulation = _Simulation(plan, clock)
    with _deterministic_schedule(plan.chance("schedule")):
        outcome: Outcome = trio.run(simulation.run, clock=clock, instruments=[simulation])
    outcome.cpu_seconds = time.process_time() - began
    return outcome


@contextmanager
def _deterministic_schedule(dice: random.Random) -> Iterator[None]:
    """Trio shuffles each batch of tasks with dice of ours."""
    before = trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_run._r.seed(dice.getrandbits(64))
    try:
        yield
    finally:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]


class _LogWatcher(logging.Handler):
    """Takes every error the server logs for a broken promise: its boundaries survive errors that are bugs."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__(logging.ERROR)
        self._oracle = oracle

    def emit(self, record: logging.LogRecord) -> None:
        self._oracle.fail(f"the server logged an error: {self.format(record)}")


@contextmanager
def _watched_log(oracle: Oracle) -> Iterator[None]:
    log = logging.getLogger("mudserver")
    handler = _LogWatcher(oracle)
    level, propagate = log.level, log.propagate
    log.setLevel(logging.ERROR)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


async def _run_node(  # noqa: ASYNC114, ASYNC128 - started() is called by the node
    node: Node, oracle: Oracle, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    try:
        await node.run(task_status=task_status)
    except* Exception as errors:
        oracle.fail(f"the server fell: {errors.exceptions!r}")


def _new_keys(dice: random.Random, dialect: Dialect) -> str:
    size = 32 if isinstance(dialect, JsonDialect) else 10
    return "".join(dice.choice("abcdefgh") for _ in range(size))


def _name_of(number: int) -> str:
    """'Paa', 'Pab', … : names are made of letters."""
    return f"P{chr(97 + number // 26 % 26)}{chr(97 + number % 26)}"


class _Simulation(trio.abc.Instrument):
    def __init__(self, plan: Plan, clock: MockClock) -> None:
        self._plan = plan
        self._clock = clock
        self._diary = Diary()
        self._outcome = Outcome(plan)
        self._oracle: Oracle | None = None
        self._instant = -1.0
        self._passes = 0

    def before_io_wait(self, _timeout: float) -> None:
        """Counts the passes of Trio's loop at one virtual instant: tasks that keep waking each other stop the clock."""
        now = self._clock.current_time()
        if now != self._instant:
            self._instant = now
            self._passes = 0
        self._passes += 1
        if self._passes > PASSES_MAX and self._oracle is not None:
            self._oracle.fail("tasks keep waking each other, and time stands still")
            self._passes = 0

    async def run(self) -> Outcome:
        plan, outcome = self._plan, self._outcome
        broker = StormyHub(plan.chance("bus")).connect()
        broker.node = NODE
        config = Config(tick_seconds=TICK_SECONDS, limits=plan.limits())
        keys = plan.chance("keys")
        node = Node(
            config,
            simulated_map(),
            broker,
            NODE,
            now=lambda: START_SECOND + trio.current_time(),
            new_key=lambda dialect: _new_keys(keys, dialect),
        )
        oracle = Oracle(NODE, config.nats_prefix, TICK_SECONDS, self._diary, lambda: node.publisher.is_linked)
        node.publisher.observe(oracle.published_one)
        broker.watcher = self._oracle = oracle
        with _watched_log(oracle):
            async with trio.open_nursery() as nursery:
                oracle.on_fail = nursery.cancel_scope.cancel
                await nursery.start(_run_node, node, oracle)
                await wait_all_tasks_blocked(QUIET_SECONDS)
                await self._play(node, broker, oracle)
                nursery.cancel_scope.cancel()
        outcome.digest = self._diary.digest
        outcome.counts |= {"messages seen": self._diary.seen, "events published": oracle.published}
        outcome.counts |= {f"tolerated: {fault}": count for fault, count in oracle.tolerated.items()}
        outcome.at_seconds = trio.current_time()
        if oracle.broken is not None:
            outcome.broken = str(oracle.broken)
            outcome.story = self._diary.story(oracle.broken.who, oracle.broken.since - STORY_SECONDS)
        return outcome

    async def _play(self, node: Node, broker: StormyBroker, oracle: Oracle) -> None:
        plan, diary, counts = self._plan, self._diary, self._outcome.counts
        async with trio.open_nursery() as nursery:

            def attach(far_end: ServerEnd) -> None:
                nursery.start_soon(guard_connection, node.sessions.run_session, far_end, "memory")

            baseline = Baseline(node)
            stage = Stage(plan, oracle, diary, nursery, attach, plan.seconds, node.world.map.rooms)
            json_dice = plan.chance("dialects")
            bots = [Bot(_name_of(n), stage, is_json=json_dice.random() < 0.5) for n in range(plan.players)]
            auditor = Auditor(node, broker, oracle, bots)
            weather_dice = plan.chance("weather")
            weather = Weather(weather_dice, self._clock, broker, bots, oracle, diary, plan.faults_per_hour)
            far = FarNode(plan.chance("far"), broker.hub, node.world.map, stage)
            async with trio.open_nursery() as day:
                for bot in bots:
                    day.start_soon(bot.live)
                day.start_soon(weather.run, plan.seconds)
                day.start_soon(far.run)
                await self._audit(auditor, plan.seconds)
                await trio.sleep(GOODBYE_SECONDS)
                day.cancel_scope.cancel()
            for bot in bots:
                bot.go_home()
            if not broker.is_linked:
                broker.restore_link()
            # The server must forget them all.
            linger = node.limits.room_linger_seconds
            await self._audit(auditor, trio.current_time() + GONE_SECONDS_MAX + linger)
            counts |= {"links lost": weather.counts["cut"] + weather.counts["hang"], **weather.counts}
            counts |= {"doubled": broker.doubled, "late": broker.late, "far dropped": far.dropped}
            counts |= {"audits": auditor.audits, "ticks": node.ticks.tick_number, "things done": stage.words}
            counts |= {f"closed: {reason}": count for reason, count in sorted(node.sessions.closes.items())}
            del bots, auditor, weather, far
            await wait_all_tasks_blocked(QUIET_SECONDS)
            oracle.give_up_what_never_came()
            node.publisher.link_lost()  # drops it, so that it does not hide another leak
            if leaks := baseline.leaks():
                oracle.fail("not everything returned to its start:\n  " + "\n  ".join(leaks))

    async def _audit(self, auditor: Auditor, until: float) -> None:
        while trio.current_time() < until:
            await trio.sleep(AUDIT_EVERY_SECONDS)
            await _let_crowds_be_served()
            await wait_all_tasks_blocked(QUIET_SECONDS)
            auditor.audit()
            await trio.sleep(1 / GRID - CROWD_SECONDS)


async def _let_crowds_be_served() -> None:
    """Until nothing that was said waits before a crowd any more."""
    stood_still = True
    while stood_still:
        began = trio.current_time()
        await trio.sleep(CROWD_SECONDS)
        # If the process did meanwhile, everybody goes on at this very instant.
        stood_still = trio.current_time() > began + CROWD_SECONDS
