"""What comes over the bus, or has to go there, is poisonous, too large or too much, while a room is full of talk."""

import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from string import ascii_lowercase
from typing import NamedTuple

import pytest
import trio
from trio.to_thread import run_sync as in_thread

from tests.faults.external_broker import ExternalBroker, Rules, external_broker, hung, raw_client, say
from tests.faults.recovery import Note, note_recovery, play_is_on_nats_again
from tests.faults.talk import LogBook, lively_room
from tests.integration.outsider import Outsider, listening_outsider
from tests.integration.players import Door
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

# A node that soon has too much on its hands.
SOON_BEHIND = f"""\
incoming_messages_max = 50
outgoing_messages_max = 30
bus_payload_bytes_max = {PAYLOAD_BYTES_MAX}
"""


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
    yield from stand(tmp_path_factory, "", TALKATIVE + SOON_BEHIND)


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


async def test_nobody_misses_a_line_when_more_comes_than_the_server_can_take(small_server: Stand, note: Note) -> None:
    """Seen to fail with a full channel that raises: the link is lost by its silence only, seconds later."""
    broker, server = small_server
    log = LogBook(server.program)
    async with lively_room(server.port) as talk, listening(broker) as outsider:
        await talk.go_on()
        struck_at = time.monotonic()
        await publish_raw(broker, published(ROOM, an_own_payload(outsider)) * 3000)
        silent_at = await talk.silence()
        recovered_at = await play_is_on_nats_again(talk, outsider, struck_at)
        await talk.go_on()
    assert log.the_outage().reason == "we read its messages too slowly"
    note_recovery(note, "too much comes", silent_at - struck_at, recovered_at - struck_at)


async def test_nobody_misses_a_line_when_more_goes_than_the_server_can_hold(
    small_server: Stand, nursery: trio.Nursery, note: Note
) -> None:
    """A crowd in another room speaks in the very same moment. Seen to fail with lines over the limit thrown away:
    nobody is told, and they are shown to nobody.
    """
    broker, server = small_server
    log = LogBook(server.program)
    door = Door(server.port, nursery)
    crowd = [await door.text(name + letter) for name in ("Gus", "Hal") for letter in ascii_lowercase[:20]]
    try:
        for gus in crowd:
            await gus.type("north")
            await gus.see("The Garden")
        async with lively_room(server.port) as talk, listening(broker) as outsider:
            struck_at = time.monotonic()
            with hung(server.program.process.pid):
                for gus in crowd:
                    await gus.type("say all together now")
            for gus in crowd:
                await gus.see("You say: all together now")
            silent_at = await talk.silence()
            recovered_at = await play_is_on_nats_again(talk, outsider, struck_at)
            await talk.go_on()
        for gus in crowd:
            await gus.quit()
    finally:
        door.close()
    outage = log.the_outage()
    assert outage.reason == "it takes our messages too slowly"
    assert outage.handed_out >= len(crowd)
    note_recovery(note, "too much goes", silent_at - struck_at, recovered_at - struck_at)
