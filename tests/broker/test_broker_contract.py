"""What every Broker keeps, proved on the one in memory and on a real nats-server alike: so the fake is no guess."""

import math
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from mudserver.broker.base import Broker, Incoming, LinkLost, LinkUp, Message
from mudserver.broker.embedded import EmbeddedBroker, open_embedded_broker
from mudserver.broker.memory import MemoryHub
from mudserver.broker.nats import NatsBroker
from mudserver.config import Limits
from mudserver.errors import StartupError, first_cause

SECONDS_MAX = 8.0
LIMITS = Limits()
PREFIX = "t"


class Door:
    """A broker and what has come in by it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._put, self.incoming = trio.open_memory_channel[Incoming](math.inf)
        self.publish_nowait = broker.publish_nowait
        self.subscribe_nowait = broker.subscribe_nowait
        self.unsubscribe_nowait = broker.unsubscribe_nowait

    async def run(  # noqa: ASYNC128 - started() is called by the broker
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await self._broker.run(self._receive, task_status=task_status)

    def _receive(self, batch: Sequence[Incoming]) -> None:
        for each in batch:
            self._put.send_nowait(each)


def nats_door(url: Callable[[], str], node: str = "node", limits: Limits = LIMITS) -> Door:
    return Door(NatsBroker(url, node, PREFIX, limits))


@dataclass
class Stand:
    """A broker that runs and has said LinkUp, another door to the same bus, and a way to take the link down.

    After `take_link_down` the link comes back when `let_link_return` is called, or by itself a little later.
    """

    broker: Door
    neighbour: Door
    take_link_down: Callable[[], None]
    let_link_return: Callable[[], None]


async def next_of(broker: Door) -> Incoming:
    with trio.fail_after(SECONDS_MAX):
        return await broker.incoming.receive()


async def next_message(broker: Door) -> Message:
    incoming = await next_of(broker)
    assert isinstance(incoming, Message), incoming
    return incoming


async def wait_for(broker: Door, kind: type[LinkUp] | type[LinkLost]) -> None:
    """Reads on until the link is up, or lost."""
    while not isinstance(await next_of(broker), kind):
        pass


async def settle(broker: Door, own_subject: str = "t.settle.it") -> None:
    """Waits until everything put so far is in force: a message of our own has come back, and nothing before it."""
    broker.subscribe_nowait(own_subject)
    broker.publish_nowait(own_subject, b"settled")
    assert await next_message(broker) == Message(own_subject, b"settled")
    broker.unsubscribe_nowait(own_subject)


@asynccontextmanager
async def _memory_stand() -> AsyncIterator[Stand]:
    hub = MemoryHub()
    broker, neighbour = hub.connect(), hub.connect()
    door, other = Door(broker), Door(neighbour)
    async with trio.open_nursery() as nursery:
        await nursery.start(door.run)
        await nursery.start(other.run)
        yield Stand(door, other, broker.lose_link, broker.restore_link)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _nats_stand(directory: Path) -> AsyncIterator[Stand]:
    async with open_embedded_broker(directory, PREFIX, LIMITS) as embedded, trio.open_nursery() as nursery:
        broker, neighbour = (nats_door(lambda: embedded.url, node) for node in ("one", "other"))

        def kill() -> None:
            assert embedded.pid is not None
            os.kill(embedded.pid, signal.SIGKILL)

        await nursery.start(broker.run)
        await nursery.start(neighbour.run)
        yield Stand(broker, neighbour, kill, lambda: None)
        nursery.cancel_scope.cancel()


@pytest.fixture(params=["memory", "nats"])
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    async with _memory_stand() if request.param == "memory" else _nats_stand(tmp_path) as stand:
        assert isinstance(await next_of(stand.broker), LinkUp)
        assert isinstance(await next_of(stand.neighbour), LinkUp)
        yield stand


async def test_the_link_going_up_is_the_first_thing_that_comes(stand: Stand) -> None:
    # The fixture has seen it; nothing else may follow by itself.
    await settle(stand.broker)


async def test_ones_own_messages_come_back(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.hall.*")
    stand.broker.publish_nowait("t.room.hall.said", b"hello")

    assert await next_message(stand.broker) == Message("t.room.hall.said", b"hello")


async def test_a_neighbours_messages_come(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.hall.*")
    await settle(stand.broker)
    stand.neighbour.publish_nowait("t.room.hall.said", b"hello over there")

    assert await next_message(stand.broker) == Message("t.room.hall.said", b"hello over there")


async def test_what_is_published_right_after_subscribing_is_received(stand: Stand) -> None:
    for number in range(50):
        stand.broker.subscribe_nowait(f"t.room.r{number}.*")
        stand.broker.publish_nowait(f"t.room.r{number}.said", b"first")

    received = [(await next_message(stand.broker)).subject for _ in range(50)]
    assert received == [f"t.room.r{number}.said" for number in range(50)]


async def test_messages_of_a_subscription_keep_their_order(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.hall.*")
    kinds = ["said", "entered", "left"]
    for number in range(1000):
        stand.broker.publish_nowait(f"t.room.hall.{kinds[number % 3]}", str(number).encode())

    received = [await next_message(stand.broker) for _ in range(1000)]
    assert [int(message.payload) for message in received] == list(range(1000))
    assert [message.subject.rpartition(".")[2] for message in received[:3]] == kinds


async def test_two_publishers_each_keep_their_order(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.hall.*")
    await settle(stand.broker)
    for number in range(200):
        stand.broker.publish_nowait("t.room.hall.said", b"one %d" % number)
        stand.neighbour.publish_nowait("t.room.hall.said", b"other %d" % number)

    received = [(await next_message(stand.broker)).payload.split() for _ in range(400)]
    for node in (b"one", b"other"):
        assert [int(number) for name, number in received if name == node] == list(range(200))


async def test_a_star_stands_for_exactly_one_token(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.*.said")
    for subject in ("t.room.hall.said", "t.room.hall.left", "t.room.said", "t.room.a.b.said", "t.room.attic.said"):
        stand.broker.publish_nowait(subject, b"")

    received = [(await next_message(stand.broker)).subject for _ in range(2)]
    assert received == ["t.room.hall.said", "t.room.attic.said"]
    await settle(stand.broker)


async def test_an_arrow_stands_for_one_token_or_more_at_the_end(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.>")
    for subject in ("t.room", "t.room.hall", "t.global.said", "t.room.a.b.c.d"):
        stand.broker.publish_nowait(subject, b"")

    received = [(await next_message(stand.broker)).subject for _ in range(2)]
    assert received == ["t.room.hall", "t.room.a.b.c.d"]


async def test_a_message_comes_once_for_each_subscription_it_matches(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.hall.*")
    stand.broker.subscribe_nowait("t.room.*.said")
    stand.broker.publish_nowait("t.room.hall.said", b"")

    assert [(await next_message(stand.broker)).subject for _ in range(2)] == ["t.room.hall.said"] * 2
    await settle(stand.broker)


async def test_subscribing_twice_to_the_same_brings_each_message_once(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.hall.*")
    stand.broker.subscribe_nowait("t.room.hall.*")
    stand.broker.publish_nowait("t.room.hall.said", b"")

    await next_message(stand.broker)
    await settle(stand.broker)


async def test_nothing_comes_after_unsubscribing(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.hall.*")
    await settle(stand.broker)
    stand.broker.unsubscribe_nowait("t.room.hall.*")
    stand.broker.publish_nowait("t.room.hall.said", b"to nobody")

    await settle(stand.broker)


async def test_what_was_published_before_unsubscribing_still_comes_or_is_lost_but_nothing_else_is(
    stand: Stand,
) -> None:
    stand.broker.subscribe_nowait("t.room.hall.*")
    stand.broker.subscribe_nowait("t.global.*")
    stand.broker.unsubscribe_nowait("t.room.hall.*")
    stand.broker.subscribe_nowait("t.room.hall.*")
    stand.broker.publish_nowait("t.room.hall.said", b"again")
    stand.broker.publish_nowait("t.global.shouted", b"and this")

    assert [(await next_message(stand.broker)).payload for _ in range(2)] == [b"again", b"and this"]


async def test_unsubscribing_from_what_was_never_subscribed_does_nothing(stand: Stand) -> None:
    stand.broker.unsubscribe_nowait("t.room.hall.*")
    await settle(stand.broker)


async def test_a_payload_comes_byte_for_byte(stand: Stand) -> None:
    payloads = [b"", bytes(range(256)), b"\r\n", b"PUB t.x 1\r\n", b"x" * 60_000]
    stand.broker.subscribe_nowait("t.room.hall.*")
    for payload in payloads:
        stand.broker.publish_nowait("t.room.hall.said", payload)

    assert [(await next_message(stand.broker)).payload for _ in payloads] == payloads


async def test_the_loss_of_the_link_is_reported_and_so_is_its_return(stand: Stand) -> None:
    stand.take_link_down()
    assert isinstance(await next_of(stand.broker), LinkLost)
    stand.let_link_return()
    assert isinstance(await next_of(stand.broker), LinkUp)


async def test_each_loss_and_each_return_is_reported_once(stand: Stand) -> None:
    kinds = []
    for _ in range(3):
        stand.take_link_down()
        kinds.append(type(await next_of(stand.broker)))
        stand.let_link_return()
        kinds.append(type(await next_of(stand.broker)))
    assert kinds == [LinkLost, LinkUp] * 3
    await settle(stand.broker)


async def test_subscriptions_survive_an_outage(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.hall.*")
    stand.broker.subscribe_nowait("t.room.attic.*")
    stand.broker.unsubscribe_nowait("t.room.attic.*")
    stand.take_link_down()
    await wait_for(stand.broker, LinkLost)
    stand.let_link_return()
    await wait_for(stand.broker, LinkUp)
    stand.broker.publish_nowait("t.room.attic.said", b"to nobody")
    stand.broker.publish_nowait("t.room.hall.said", b"still here")

    assert await next_message(stand.broker) == Message("t.room.hall.said", b"still here")


async def test_what_is_subscribed_and_unsubscribed_during_an_outage_holds_after_it(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.hall.*")
    await settle(stand.broker)
    stand.take_link_down()
    await wait_for(stand.broker, LinkLost)
    stand.broker.unsubscribe_nowait("t.room.hall.*")
    stand.broker.subscribe_nowait("t.room.attic.*")
    stand.let_link_return()
    await wait_for(stand.broker, LinkUp)
    stand.broker.publish_nowait("t.room.hall.said", b"to nobody")
    stand.broker.publish_nowait("t.room.attic.said", b"new")

    assert await next_message(stand.broker) == Message("t.room.attic.said", b"new")


async def test_nothing_published_during_an_outage_arrives_late(stand: Stand) -> None:
    stand.broker.subscribe_nowait("t.room.hall.*")
    await settle(stand.broker)
    stand.take_link_down()
    await wait_for(stand.broker, LinkLost)
    stand.broker.publish_nowait("t.room.hall.said", b"just after the loss")
    stand.let_link_return()
    await wait_for(stand.broker, LinkUp)
    stand.broker.publish_nowait("t.room.hall.said", b"after the return")

    assert await next_message(stand.broker) == Message("t.room.hall.said", b"after the return")


async def test_nothing_published_at_any_moment_between_loss_and_return_arrives(stand: Stand) -> None:
    """Also not what is put while the new link is being made: until LinkUp its giver hands it out another way."""
    stand.broker.subscribe_nowait("t.room.hall.*")
    await settle(stand.broker)
    stand.take_link_down()
    await wait_for(stand.broker, LinkLost)
    for tries in range(8000):
        stand.broker.publish_nowait("t.room.hall.said", b"during the outage")
        if tries == 20:
            stand.let_link_return()
        await trio.sleep(0.001)
        if stand.broker.incoming.statistics().current_buffer_used:
            break
    came = stand.broker.incoming.receive_nowait()
    assert isinstance(came, LinkUp), f"{came} came before the link was reported"
    stand.broker.publish_nowait("t.room.hall.said", b"after the return")

    assert await next_message(stand.broker) == Message("t.room.hall.said", b"after the return")


async def test_nothing_said_on_either_side_of_an_outage_is_heard_on_the_other(stand: Stand) -> None:
    for broker in (stand.broker, stand.neighbour):
        broker.subscribe_nowait("t.room.hall.*")
        await settle(broker, f"t.settle.{id(broker)}")
    stand.take_link_down()
    await wait_for(stand.broker, LinkLost)
    stand.broker.publish_nowait("t.room.hall.said", b"from the lost one")
    stand.neighbour.publish_nowait("t.room.hall.said", b"to the lost one")
    stand.let_link_return()
    assert isinstance(await next_of(stand.broker), LinkUp)
    # The neighbour has no outage in memory, and the same one on a nats-server that dies.
    heard: list[bytes] = []
    while b"after the return" not in heard:
        with trio.move_on_after(0.02):
            if isinstance(incoming := await stand.neighbour.incoming.receive(), Message):
                heard.append(incoming.payload)
            continue
        stand.broker.publish_nowait("t.room.hall.said", b"after the return")
    assert set(heard) <= {b"to the lost one", b"after the return"}
    while (said := (await next_message(stand.broker)).payload) != b"after the return":
        assert said != b"to the lost one"


async def test_publishing_never_raises_and_never_waits(stand: Stand) -> None:
    before = trio.current_time()
    stand.broker.subscribe_nowait("t.room.hall.*")
    for number in range(2000):
        stand.broker.publish_nowait("t.room.hall.said", b"%d" % number)
    stand.take_link_down()
    for _ in range(2000):
        stand.broker.publish_nowait("t.room.hall.said", b"into the void")
    assert trio.current_time() - before < 1
    stand.let_link_return()
    await wait_for(stand.broker, LinkUp)
    await settle(stand.broker)


@pytest.mark.parametrize(
    "broker",
    [Door(MemoryHub().connect()), nats_door(lambda: "nats://127.0.0.1:1")],
    ids=["memory", "nats"],
)
def test_a_broker_that_does_not_run_yet_takes_everything_and_says_nothing(broker: Door) -> None:
    broker.subscribe_nowait("t.room.hall.*")
    broker.publish_nowait("t.room.hall.said", b"too early")
    broker.unsubscribe_nowait("t.room.hall.*")
    with pytest.raises(trio.WouldBlock):
        broker.incoming.receive_nowait()


async def test_what_was_subscribed_before_it_ran_is_in_force_at_the_first_link(tmp_path: Path) -> None:
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
        for broker in (Door(MemoryHub().connect()), nats_door(lambda: embedded.url)):
            broker.subscribe_nowait("t.room.hall.*")
            async with trio.open_nursery() as nursery:
                await nursery.start(broker.run)
                assert isinstance(await next_of(broker), LinkUp)
                broker.publish_nowait("t.room.hall.said", b"hello")
                assert await next_message(broker) == Message("t.room.hall.said", b"hello")
                nursery.cancel_scope.cancel()


async def test_nothing_is_received_from_within_a_nowait_method(stand: Stand) -> None:
    """Whoever publishes is in the middle of something. Seen to fail with a broker in memory that calls at once."""
    for number in range(20):
        stand.broker.subscribe_nowait(f"t.room.r{number}.*")
        stand.broker.publish_nowait(f"t.room.r{number}.said", b"")
    with pytest.raises(trio.WouldBlock):
        stand.broker.incoming.receive_nowait()
    for _ in range(20):
        await next_message(stand.broker)


async def test_what_the_receiver_raises_ends_the_broker(tmp_path: Path) -> None:
    """It is a bug of ours, and no fault of the broker's. Seen to fail with such errors logged and forgotten."""

    def raise_it(batch: Sequence[Incoming]) -> None:
        raise LookupError(type(batch[0]).__name__)

    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
        for broker in (MemoryHub().connect(), NatsBroker(lambda: embedded.url, "node", PREFIX, LIMITS)):
            with (
                pytest.RaisesGroup(LookupError, flatten_subgroups=True, allow_unwrapped=True),
                trio.fail_after(SECONDS_MAX),
            ):
                await broker.run(raise_it)


# --- where only a real one can fail -------------------------------------------------------------------------------


async def test_a_broker_that_nobody_answers_for_is_given_up_in_time() -> None:
    limits = Limits(link_first_seconds_max=0.5, link_connect_seconds_max=0.3)
    broker = nats_door(lambda: "nats://mudserver:secret@127.0.0.1:1", limits=limits)
    with pytest.RaisesGroup(StartupError, flatten_subgroups=True) as raised:
        with trio.fail_after(SECONDS_MAX):
            await broker.run()
    said = str(first_cause(raised.value))
    assert "nats://127.0.0.1:1 cannot be used" in said
    assert "secret" not in said


async def test_a_wrong_password_is_reported_as_such(tmp_path: Path) -> None:
    limits = Limits(link_first_seconds_max=0.5)
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
        url = embedded.url.replace(embedded.url.split(":")[2].split("@")[0], "wrong")
        broker = nats_door(lambda: url, limits=limits)
        with pytest.RaisesGroup(StartupError, flatten_subgroups=True) as raised:
            with trio.fail_after(SECONDS_MAX):
                await broker.run()
    said = str(first_cause(raised.value))
    assert "Authorization Violation" in said
    assert "wrong" not in said


async def test_a_broker_that_hangs_is_declared_lost_by_its_silence(tmp_path: Path) -> None:
    limits = Limits(link_heartbeat_seconds=0.05, link_silence_seconds_max=0.3)
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded, trio.open_nursery() as nursery:
        broker = nats_door(lambda: embedded.url, limits=limits)
        broker.subscribe_nowait("t.room.hall.*")
        await nursery.start(broker.run)
        assert isinstance(await next_of(broker), LinkUp)
        with _stopped(embedded):
            began = trio.current_time()
            lost = await next_of(broker)
            assert isinstance(lost, LinkLost)
            assert lost.reason == "it has fallen silent"
            assert trio.current_time() - began < 1.5
            for _ in range(20_000):
                broker.publish_nowait("t.room.hall.said", b"x" * 500)
        assert isinstance(await next_of(broker), LinkUp)
        broker.publish_nowait("t.room.hall.said", b"after the return")
        assert await next_message(broker) == Message("t.room.hall.said", b"after the return")
        nursery.cancel_scope.cancel()


async def test_who_is_behind_with_what_has_come_does_not_take_the_broker_for_silent(tmp_path: Path) -> None:
    """Seen to fail with only the echo of the heartbeat for a sign of life: it stands in line behind all that."""
    limits = Limits(link_heartbeat_seconds=0.05, link_silence_seconds_max=0.3)
    messages = 20_000
    received: list[Incoming] = []
    is_all_here = trio.Event()

    def receive_slowly(batch: Sequence[Incoming]) -> None:
        time.sleep(0.002)  # as much work as that
        received.extend(batch)
        if len(received) > messages:
            is_all_here.set()

    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded, trio.open_nursery() as nursery:
        broker = NatsBroker(lambda: embedded.url, "slow", PREFIX, limits)
        broker.subscribe_nowait("t.room.hall.*")
        await nursery.start(broker.run, receive_slowly)
        neighbour = nats_door(lambda: embedded.url, "quick")
        await nursery.start(neighbour.run)
        for _ in range(messages):
            neighbour.publish_nowait("t.room.hall.said", b"x" * 250)
        with trio.fail_after(SECONDS_MAX):
            await is_all_here.wait()
        nursery.cancel_scope.cancel()
    assert [type(each) for each in received if not isinstance(each, Message)] == [LinkUp]


@contextmanager
def _stopped(embedded: EmbeddedBroker) -> Iterator[None]:
    assert embedded.pid is not None
    os.kill(embedded.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(embedded.pid, signal.SIGCONT)


async def test_a_message_that_the_broker_refuses_is_survived(tmp_path: Path) -> None:
    """Outside what the user may publish: nats-server answers with -ERR, and nats-py tells nobody but a callback."""
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded, trio.open_nursery() as nursery:
        broker = nats_door(lambda: embedded.url)
        broker.subscribe_nowait("t.room.hall.*")
        await nursery.start(broker.run)
        assert isinstance(await next_of(broker), LinkUp)
        broker.publish_nowait("elsewhere.room.hall.said", b"not allowed")
        if isinstance(await _next_after_publishing(broker), LinkLost):
            await wait_for(broker, LinkUp)
            broker.publish_nowait("t.room.hall.said", b"marker")
            assert await next_message(broker) == Message("t.room.hall.said", b"marker")
        nursery.cancel_scope.cancel()


async def _next_after_publishing(broker: Door) -> Incoming:
    broker.publish_nowait("t.room.hall.said", b"marker")
    return await next_of(broker)
