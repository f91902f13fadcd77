"""What comes over the bus, or has to go there, is poisonous, too large or too much, while a room is full of talk."""

import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import trio
from trio.to_thread import run_sync as in_thread

from mudserver.realtime.nats_message_handler import SILENCE
from tests.faults.external_broker import ExternalBroker, Rules, external_broker, hung, raw_client, say
from tests.faults.recovery import Note, note_recovery, play_is_on_nats_again
from tests.faults.talk import LogBook, lively_room
from tests.integration.outsider import Outsider, listening_outsider
from tests.integration.players import Door, TextPlayer
from tests.integration.programs import Server, running_server

ROOM = b"mud.room.hall.chat_message"

SMALL_BROKER = "max_pending: 1MB\nwrite_deadline: 1s"

PAYLOAD_BYTES_MAX = 400
"""More than the payload of an ordinary line, and less than that of LONG_LINE."""
LONG_LINE = "€" * 60

# Somebody may say much at once.
TALKATIVE = """
[limits]
lines_per_second = 1000.0
lines_burst = 1000
"""

NARROW = f"bus_payload_bytes_max = {PAYLOAD_BYTES_MAX}"

# Somebody may say very much at once, for which there is little room, and a hung broker is given time.
SOON_FULL = """
[limits]
lines_per_second = 10000.0
lines_burst = 10000
received_bytes_per_second = 1e8
received_bytes_burst = 100000000
reads_per_second = 1e5
reads_burst = 100000
outgoing_bytes_max = 65536
link_silence_seconds_max = 60.0
"""

LINES_UNTIL_FULL_MAX = 4000
"""What the sockets on the way to the broker hold, some 3 MB, is 1,000 lines of 3 kB; as many again and again."""


class Stand(NamedTuple):
    """A broker, and a server on it."""

    broker: ExternalBroker
    server: Server


def stand(tmp_path_factory: pytest.TempPathFactory, further: str, limits: str) -> Iterator[Stand]:
    directory = tmp_path_factory.mktemp("server")
    (directory / "config.toml").write_text(limits)
    options = ("--log-format", "json", "--tick-seconds", "0.5", "--config", str(directory / "config.toml"))
    with (
        external_broker(tmp_path_factory.mktemp("broker"), Rules(further=further)) as broker,
        running_server(directory, *options, "--nats-url", broker.url) as server,
    ):
        yield Stand(broker, server)


@pytest.fixture(scope="module")
def small_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A broker with small limits."""
    yield from stand(tmp_path_factory, SMALL_BROKER, TALKATIVE)


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A server with small limits towards the broker."""
    yield from stand(tmp_path_factory, "", TALKATIVE + NARROW)


@pytest.fixture(scope="module")
def patient_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A server that does not give up a silent broker before there is no room for messages to it."""
    yield from stand(tmp_path_factory, "", SOON_FULL)


@pytest.fixture
def note(record_property: Note) -> Note:
    return record_property


@asynccontextmanager
async def listening(broker: ExternalBroker) -> AsyncIterator[Outsider]:
    """Somebody who hears what is on the bus, for one test: poison does not agree with ordinary clients."""
    with listening_outsider(broker.observer_url) as outsider:
        yield outsider


def published(subject: bytes, payload: bytes) -> bytes:
    return b"PUB %b %d\r\n%b\r\n" % (subject, len(payload), payload)


def an_own_payload(outsider: Outsider) -> bytes:
    """What the server itself has published before: it knows it again, and shows it to nobody."""
    return next(heard.payload for heard in outsider.heard() if heard.subject.encode() == ROOM)


async def publish_raw(broker: ExternalBroker, lines: bytes) -> None:
    def publish() -> None:
        with raw_client(broker.observer_url) as sock:
            say(sock, lines)

    await in_thread(publish)


POISON = (
    published(b"mud.room.hall.\xff\xfe", b"{}"),
    published(b"mud.room.hall.\x1b]52;c;aGk=\x07", b"{}"),
    published(ROOM, b"\x00\xff\x1b[2J"),
    published(ROOM, b"[" * 50_000),
    b"HPUB %b 14 16\r\nNATS/9.9 oh\xff\r\n{}\r\n" % ROOM,
    b"HPUB %b 2 4\r\n\r\n{}\r\n" % ROOM,
)
"""No UTF-8 in the subject, an escape sequence in it, no text, JSON without end, headers that are none."""


async def test_poison_on_the_bus_harms_nobody_and_costs_one_log_line(small_broker: Stand) -> None:
    """Seen to fail with subjects decoded strictly: the link is lost, each time."""
    broker, server = small_broker
    log = LogBook(server.program)
    async with lively_room(server.port) as talk:
        for lines in POISON:
            await publish_raw(broker, lines * 3)
        await talk.go_on()
        # Only now: the poison is deadly for ordinary clients.
        with listening_outsider(broker.observer_url) as outsider:
            next_line = f"Alice says: {talk.seat('Alice').next_words}"
            await in_thread(lambda: outsider.hear_event("chat_message", message=next_line))
    complaints = [each.message for each in log.complaints()]
    assert len(complaints) == 3 * len(POISON)
    assert all(re.fullmatch(r"dropped a NATS message on 'mud\.room\.hall\..*': bad \w+", each) for each in complaints)
    assert all(each.isascii() and each.isprintable() for each in complaints)
    assert log.outages() == []


async def test_a_message_over_the_limit_is_dropped_and_nobody_misses_a_line(small_server: Stand) -> None:
    """Seen to fail with no look at the size: it is read, and found bad in another way."""
    broker, server = small_server
    log = LogBook(server.program)
    async with lively_room(server.port) as talk:
        await publish_raw(broker, published(ROOM, b" " * (PAYLOAD_BYTES_MAX + 1)))
        await talk.go_on()
    assert [each.message for each in log.complaints()] == [
        "dropped a NATS message on 'mud.room.hall.chat_message': bad size"
    ]


async def test_a_line_too_large_for_our_own_limit_is_shown_to_the_room_in_its_place(small_server: Stand) -> None:
    """The speaker is told that it was said."""
    server = small_server.server
    log = LogBook(server.program)
    async with lively_room(server.port) as talk:
        await talk.seat("Alice").say(LONG_LINE)
        await talk.go_on()
    assert all(each.traceback is None for each in log.records())
    assert log.outages() == []


async def test_a_line_too_large_for_the_broker_is_shown_to_the_room_in_its_place(
    small_broker: Stand, note: Note
) -> None:
    """It ends the connection for it. Seen to fail without `link_lost` handing out what has no receipt."""
    broker, server = small_broker
    log = LogBook(server.program)
    async with lively_room(server.port) as talk, listening(broker) as outsider:
        await in_thread(lambda: broker.reload(further=f"{SMALL_BROKER}\nmax_payload: {PAYLOAD_BYTES_MAX}"))
        struck_at = time.monotonic()
        await talk.seat("Alice").say(LONG_LINE)
        silent_at = await talk.silence()
        recovered_at = await play_is_on_nats_again(talk, outsider, struck_at)
        await talk.go_on()
        await in_thread(lambda: broker.reload(further=SMALL_BROKER))
    log.the_outage()
    note_recovery(note, "payload too large", silent_at - struck_at, recovered_at - struck_at)


async def test_nobody_misses_a_line_when_the_broker_drops_the_server_as_a_slow_consumer(
    small_broker: Stand, note: Note
) -> None:
    """The server stands still for a moment, and somebody floods the room meanwhile. Seen to fail as the test above."""
    broker, server = small_broker
    log = LogBook(server.program)
    async with lively_room(server.port) as talk, listening(broker) as outsider:
        await talk.go_on()
        flood = published(ROOM, an_own_payload(outsider).ljust(50_000)) * 20
        with hung(server.program.process.pid):
            await in_thread(flood_until_dropped, broker, flood)
        struck_at = time.monotonic()
        silent_at = await talk.silence()
        recovered_at = await play_is_on_nats_again(talk, outsider, struck_at)
        await talk.go_on()
    log.the_outage()
    note_recovery(note, "slow consumer: we", silent_at - struck_at, recovered_at - struck_at)


def flood_until_dropped(broker: ExternalBroker, flood: bytes) -> None:
    def times_dropped() -> int:
        return len(re.findall("mudserver.*Slow Consumer Detected", broker.log()))

    before = times_dropped()
    with raw_client(broker.observer_url) as sock:
        deadline = time.monotonic() + 8
        while times_dropped() == before:
            assert time.monotonic() < deadline, "the broker never found the server too slow"
            say(sock, flood)


async def test_nobody_misses_a_line_while_a_flood_comes_over_the_bus(small_broker: Stand) -> None:
    """What the server has no time for yet stays with the broker. Seen to fail with the beginning of a message forgotten
    between two reads.
    """
    broker, server = small_broker
    log = LogBook(server.program)
    async with lively_room(server.port) as talk, listening(broker) as outsider:
        await talk.go_on()
        await publish_raw(broker, published(ROOM, an_own_payload(outsider)) * 3000)
        await talk.go_on()
    assert log.outages() == []
    assert log.complaints() == []


async def test_nobody_misses_a_line_when_more_goes_than_the_server_can_hold(
    patient_server: Stand, nursery: trio.Nursery, note: Note
) -> None:
    """Somebody in another room says more than there is room for, while the broker hangs. Seen to fail with what is over
    the limit kept: the link is not lost until its silence has lasted too long.
    """
    broker, server = patient_server
    log = LogBook(server.program)
    door = Door(server.port, nursery)
    gus = await door.text("Gus")
    try:
        await gus.type("north")
        await gus.see("The Garden")
        async with lively_room(server.port) as talk, listening(broker) as outsider:
            with broker.hung():
                said = await say_much(gus, until=lambda: talk.seat("Alice").has_seen(SILENCE))
                await talk.silence()
            back_at = time.monotonic()
            recovered_at = await play_is_on_nats_again(talk, outsider, back_at)
            await talk.go_on()
        await gus.quit()
    finally:
        door.close()
    outage = log.the_outage()
    assert outage.reason == "it takes our messages too slowly"
    assert outage.handed_out >= said
    note_recovery(note, "too much goes", 0.0, recovered_at - back_at)


async def say_much(player: TextPlayer, until: Callable[[], bool]) -> int:
    """Has a player say long lines until it is so. Returns how many."""
    for number in range(LINES_UNTIL_FULL_MAX):
        if until():
            return number
        await player.type(f"say {number} {'€' * 980}")
        await player.see(f"You say: {number} ")
    pytest.fail("there was room for everything")
