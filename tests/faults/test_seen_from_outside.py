"""What those who look after the server are told: health, readiness, figures that match what happened, short answers."""

import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio.to_thread import run_sync as in_thread

from tests.faults.external_broker import ExternalBroker, external_broker, hung, raw_client, say
from tests.faults.stalled import stalled_reader
from tests.integration.players import Door
from tests.integration.programs import SMALL_WORLD, Program, Server, answers, running_server, start, wait_until

SECONDS_MAX = 8.0

NEVER = "3600"
"""Seconds of a tick that does not come while a test counts events."""

LIMITS = """
[limits]
lines_per_second = 10000.0
lines_burst = 10000
reads_per_second = 10000.0
reads_burst = 10000
received_bytes_per_second = 100000000
received_bytes_burst = 100000000
outbox_frames_max = 50
linkdead_seconds = 0.3
close_seconds_max = 0.3
bus_payload_bytes_max = 2000
"""

AWAY = "degraded: the broker is away: only this node's players hear each other\n"


class Answer(NamedTuple):
    """What came over plain HTTP, up to the end of the connection."""

    status: int
    headers: dict[str, str]
    body: str


def ask(port: int, path: str, method: str = "GET") -> Answer:
    """Asks for a page as curl does. Blocks."""
    return ask_raw(port, f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: test\r\n\r\n".encode())


def ask_raw(port: int, request: bytes) -> Answer:
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX) as sock:
        sock.sendall(request)
        received = b""
        while data := sock.recv(65536):
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *header_lines = head.decode("ascii").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Z][A-Za-z ]+", status_line)
    assert match is not None, received
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in header_lines)}
    return Answer(int(match[1]), headers, body.decode())


def figures(port: int) -> dict[str, float]:
    """All samples of the metrics page, by name and labels as Prometheus writes them."""
    answer = ask(port, "/metrics")
    assert answer.status == 200
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.body):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


class Watched(NamedTuple):
    """A server, its admin port, and its broker."""

    server: Server
    admin: int
    broker: ExternalBroker


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A new server on a broker of somebody else's, with a small outbox and no ticks."""
    admin = free_port()
    (tmp_path / "config.toml").write_text(LIMITS)
    options = ("--admin-port", str(admin), "--tick-seconds", NEVER, "--config", str(tmp_path / "config.toml"))
    with (
        external_broker(tmp_path / "broker") as broker,
        running_server(tmp_path, *options, "--nats-url", broker.url) as server,
    ):
        yield Watched(server, admin, broker)


@asynccontextmanager
async def open_door(port: int) -> AsyncIterator[Door]:
    async with trio.open_nursery() as nursery:
        door = Door(port, nursery)
        try:
            yield door
            await door.see_everybody_off()
        finally:
            door.close()


async def until(port: int, holds: Callable[[dict[str, float]], bool], what: str) -> dict[str, float]:
    """The first figures that fit."""
    last: dict[str, float] = {}

    def fit() -> bool:
        last.clear()
        last.update(figures(port))
        return holds(last)

    await in_thread(wait_until, fit, what, SECONDS_MAX)
    return last


# --- the figures ----------------------------------------------------------------------------------------------------


async def test_the_figures_match_what_happened(watched: Watched) -> None:
    """Seen to fail with any one of the counters left as it was: each is held against what players did and saw."""
    server, admin, broker = watched
    before = await in_thread(figures, admin)
    zero = ("mud_connections", "mud_players", "mud_rooms_awake", "mud_outbox_frames", "mud_events_awaited")
    assert {name: before[name] for name in zero} == dict.fromkeys(zero, 0)
    assert before["mud_link_up"] == 1
    assert before["mud_deliveries_total"] == 0

    async with open_door(server.port) as door:
        nameless = await door.connect_text()
        alice, bob, carol = await door.text("Alice"), await door.text("Bob"), await door.text("Carol")
        await alice.see("Carol enters")
        await bob.see("Carol enters")
        for number in range(5):
            await alice.type(f"say {number}")
            await carol.see(f"Alice says: {number}")
            await bob.see(f"Alice says: {number}")
        await carol.type("north")
        await bob.see("Carol leaves")
        await bob.type("shout hello")
        await carol.see("Bob shouts: hello")
        await alice.see("Bob shouts: hello")
        now = await until(admin, lambda found: found["mud_events_awaited"] == 0, "all has come back")

        assert now["mud_connections"] == 4
        assert now["mud_players"] == 3
        assert now["mud_rooms_awake"] == 2
        published = {
            "player_entered_game": 3,
            "player_entered": 4,
            "player_left": 1,
            "chat_message": 6,
        }
        for event_type, count in published.items():
            assert now[f"mud_events_published_total{{event_type={event_type}}}"] == count
        assert now["mud_messages_received_total"] == sum(published.values())
        assert now["mud_event_latency_seconds_count"] == sum(published.values())
        assert now["mud_event_latency_seconds_bucket{le=+Inf}"] == sum(published.values())
        assert 0 < now["mud_event_latency_seconds_sum"] < sum(published.values()) * 2.5
        # 1 + 2 saw somebody come, 2 each heard five lines, 2 saw Carol go, 2 heard the shout.
        assert now["mud_deliveries_total"] == 3 + 2 * 5 + 2 + 2
        assert now["mud_outbox_frames"] == 0
        assert now["mud_events_handed_out_total"] == 0

        await carol.quit()
        await alice.type("say to Bob")
        await bob.see("to Bob")
        now = await until(admin, lambda found: found["mud_connections"] == 3, "Carol is gone")
        assert now["mud_players"] == 2
        assert now["mud_connections_closed_total{reason=goodbye}"] == 1
        await nameless.drop()
        now = await until(admin, lambda found: found["mud_connections"] == 2, "the nameless one is gone")
        assert now["mud_players"] == 2
        assert broker.process.poll() is None


async def test_messages_that_are_dropped_are_counted_by_reason(watched: Watched) -> None:
    """Seen to fail with `dropped` counting nothing."""
    server, admin, broker = watched
    bad = {
        "payload": (b"mud.room.hall.chat_message", b"no JSON"),
        "size": (b"mud.room.hall.chat_message", b" " * 2001),
        "schema": (b"mud.room.hall.chat_message", envelope(schema=2)),
        "event_type": (b"mud.room.hall.\xff\xfe", envelope()),
        "data": (b"mud.room.hall.chat_message", envelope(data="{}")),
        "scope": (b"mud.room.hall.chat_message", envelope(data=chat(channel="shout"))),
        "text": (b"mud.room.hall.chat_message", envelope(data=chat(message="\\u001b[2J"))),
    }
    async with open_door(server.port) as door:
        alice = await door.text("Alice")
        await until(admin, lambda found: found["mud_events_awaited"] == 0, "her room is subscribed to")
        for times, (subject, payload) in enumerate(bad.values(), 1):
            lines = b"PUB %b %d\r\n%b\r\n" % (subject, len(payload), payload)
            await in_thread(publish, broker, lines * times)
        wanted = {f"mud_messages_dropped_total{{reason={reason}}}": times for times, reason in enumerate(bad, 1)}
        now = await until(admin, lambda found: wanted.items() <= found.items(), f"{wanted} were dropped")
        assert {name for name in now if name.startswith("mud_messages_dropped_total")} == set(wanted)
        assert "dropped" in server.program.errors
        await alice.type("say still here")
        assert await alice.see("still here") == ["You say: still here"]


def chat(channel: str = "say", message: str = "Eve says: hi") -> str:
    return f'{{"sender_id":"x-p1","player_name":"Eve","channel":"{channel}","message":"{message}","message_id":"x-m1"}}'


def envelope(data: str | None = None, schema: int = 1) -> bytes:
    """What a node called x would publish."""
    return (
        '{"event_type":"chat_message","timestamp":"2026-11-23T08:31:00Z","sequence_number":1,'
        f'"data":{data or chat()},"metadata":{{"node":"x","schema":{schema},"actor":"x-p1"}}}}'
    ).encode()


def publish(broker: ExternalBroker, lines: bytes) -> None:
    with raw_client(broker.observer_url) as sock:
        say(sock, lines)


async def test_a_reader_who_is_closed_for_being_slow_is_counted(watched: Watched) -> None:
    """Seen to fail with a reader who is let alone: nobody is closed."""
    server, admin, _ = watched
    async with open_door(server.port) as door:
        alice = await door.text("Alice")
        with stalled_reader(server.port, "Bob"):
            await alice.see("Bob enters the room.")
            seen: list[str] = []
            for _ in range(2000):
                await alice.type(*(f"say {'x' * 900}" for _ in range(4)))
                for _ in range(4):
                    seen += await alice.see("You say: ")
                if any("Bob" in line for line in seen):
                    break
            now = await until(admin, lambda found: found["mud_connections"] == 1, "Bob's connection is gone")
            assert now["mud_connections_closed_total{reason=slow}"] == 1
            await until(admin, lambda found: found["mud_players"] == 1, "Bob is given up")


# --- the broker away ------------------------------------------------------------------------------------------------


async def test_readiness_and_figures_tell_that_the_broker_is_away_and_back(watched: Watched) -> None:
    """Seen to fail with `degradation` always None: "ready" without a broker; with `handed_out` not counted: 0."""
    server, admin, broker = watched
    assert (await in_thread(ask, admin, "/readyz"))[::2] == (200, "ready\n")
    async with open_door(server.port) as door:
        alice, bob = await door.text("Alice"), await door.text("Bob")
        await alice.see("Bob enters")
        before = await until(admin, lambda found: found["mud_events_awaited"] == 0, "all has come back")
        await in_thread(broker.kill)
        await alice.see("The aether falls silent")
        assert (await in_thread(ask, admin, "/readyz"))[::2] == (200, AWAY)
        assert (await in_thread(ask, admin, "/healthz"))[::2] == (200, "ok: the loops turn\n")
        for number in range(7):
            await alice.type(f"say {number}")
            await bob.see(f"Alice says: {number}")
        now = await in_thread(figures, admin)
        assert now["mud_link_up"] == 0
        assert now["mud_events_handed_out_total"] == 7
        assert now["mud_events_awaited"] == 0
        assert now["mud_event_latency_seconds_count"] == before["mud_event_latency_seconds_count"]
        await in_thread(broker.start)
        await alice.see("The aether hums again")
        assert (await in_thread(ask, admin, "/readyz"))[::2] == (200, "ready\n")
        await alice.type("say again")
        await bob.see("Alice says: again")
        now = await in_thread(figures, admin)
        assert now["mud_link_up"] == 1
        assert now["mud_events_handed_out_total"] == 7
        assert now["mud_event_latency_seconds_count"] == before["mud_event_latency_seconds_count"] + 1
        assert now["mud_events_published_total{event_type=chat_message}"] == 8


async def test_what_comes_back_too_late_is_counted_as_a_late_copy(watched: Watched) -> None:
    """A broker that hung works off what it had, when the new link is there. Seen to fail with `take_receipt` that
    keeps what it gave out: the line is seen twice and no copy is late.
    """
    server, admin, broker = watched
    async with open_door(server.port) as door:
        alice, bob = await door.text("Alice"), await door.text("Bob")
        await alice.see("Bob enters")
        with raw_client(broker.observer_url) as sock:
            say(sock, b"SUB mud.room.hall.* 1\r\n")
            await alice.type("say once")
            await bob.see("Alice says: once")
            payload = await in_thread(payload_of_next_message, sock)
        await in_thread(publish, broker, b"PUB mud.room.hall.chat_message %d\r\n%b\r\n" % (len(payload), payload))
        await until(admin, lambda found: found["mud_late_copies_total"] == 1, "the copy has come")
        await alice.type("say and no more")
        assert await bob.see("Alice says: ") == ["Alice says: and no more"]


def payload_of_next_message(sock: socket.socket) -> bytes:
    received = b""
    while (match := re.search(rb"MSG \S+ 1 (\d+)\r\n(.*)\r\n", received, re.DOTALL)) is None:
        received += sock.recv(65536)
    return match[2][: int(match[1])]


# --- the pages ------------------------------------------------------------------------------------------------------


async def test_the_admin_port_answers_its_three_pages_and_nothing_else(watched: Watched) -> None:
    admin = watched.admin
    for path, status, text in (
        ("/healthz", 200, "ok: the loops turn\n"),
        ("/readyz", 200, "ready\n"),
        ("/readyz?x=1", 200, "ready\n"),
        ("/", 404, "There are /healthz, /readyz, /metrics.\n"),
        ("/metrics/", 404, "There are /healthz, /readyz, /metrics.\n"),
    ):
        answer = await in_thread(ask, admin, path)
        assert (answer.status, answer.body) == (status, text)
        check_shape(answer)
    posted = await in_thread(ask, admin, "/healthz", "POST")
    assert (posted.status, posted.headers["allow"]) == (405, "GET")
    assert (await in_thread(ask_raw, admin, b"\x16\x03\x01 what is this\r\n\r\n")).status == 400
    metrics = await in_thread(ask, admin, "/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    check_shape(metrics)


def check_shape(answer: Answer) -> None:
    """A whole answer that ends the connection."""
    assert answer.headers["connection"] == "close"
    assert int(answer.headers["content-length"]) == len(answer.body.encode())


async def test_the_players_port_answers_health_only_and_says_what_it_is(watched: Watched) -> None:
    port = watched.server.port
    for path, status in (("/healthz", 200), ("/", 426), ("/readyz", 404), ("/metrics", 404), ("/../etc/passwd", 404)):
        answer = await in_thread(ask, port, path)
        assert answer.status == status
        assert len(answer.body) < 200
        check_shape(answer)
    assert (await in_thread(ask, port, "/healthz")).body == "ok\n"
    assert (await in_thread(ask, port, "/")).headers["upgrade"] == "websocket"
    assert (await in_thread(ask, port, "/healthz", "DELETE")).status == 405
    assert "mud_" not in (await in_thread(ask, port, "/metrics")).body


async def test_head_is_answered_without_a_body(watched: Watched) -> None:
    """RFC 9110, 9.3.2. Some load balancers ask so, and take what follows for the next answer."""
    server, admin, _ = watched
    for port, path in ((admin, "/healthz"), (admin, "/readyz"), (admin, "/metrics"), (server.port, "/healthz")):
        answer = await in_thread(ask, port, path, "HEAD")
        assert (answer.status, answer.body) == (200, ""), path


async def test_readiness_is_over_when_the_server_stops(tmp_path: Path) -> None:
    """Seen to fail with `is_stopping` never set: a load balancer would send players to a server that goes."""
    admin = free_port()
    (tmp_path / "config.toml").write_text("[limits]\ngrace_seconds = 30.0\nclose_seconds_max = 30.0\n")
    options = ("--admin-port", str(admin), "--config", str(tmp_path / "config.toml"))
    with running_server(tmp_path, *options) as server, deaf_client(server.port):
        server.program.signal(signal.SIGTERM)
        await in_thread(wait_until, lambda: not answers(server.port), "nobody is let in any more")
        assert (await in_thread(ask, admin, "/readyz"))[::2] == (503, "stopping\n")
        assert (await in_thread(ask, admin, "/healthz")).status == 200
        server.program.signal(signal.SIGTERM)
        assert await in_thread(server.program.wait_ended) == 0
        server.program.is_expected_to_have_ended = True


@contextmanager
def deaf_client(port: int) -> Iterator[None]:
    """A client that has shaken hands and answers nothing any more, not even a close."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX) as sock:
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        received = b""
        while b"By what name" not in received:
            received += sock.recv(4096)
        yield


async def test_health_is_answered_while_the_broker_hangs_and_players_talk(watched: Watched) -> None:
    """It is this process that is asked about, and it turns."""
    server, admin, broker = watched
    async with open_door(server.port) as door:
        alice = await door.text("Alice")
        with hung(broker.pid):
            for number in range(20):
                await alice.type(f"say {number}")
                assert (await in_thread(ask, admin, "/healthz")).status == 200
                assert (await in_thread(ask, server.port, "/healthz")).status == 200


# --- where they are -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="reads from /proc where a process listens")
def test_it_listens_on_loopback_only_and_with_none_on_the_players_port_only(tmp_path: Path) -> None:
    with running_server(tmp_path / "none", "--admin-port", "none") as server:
        assert listening_addresses(server.program.process.pid) == {("127.0.0.1", server.port)}
    admin = free_port()
    with running_server(tmp_path / "one", "--admin-port", str(admin)) as server:
        wanted = {("127.0.0.1", server.port), ("127.0.0.1", admin)}
        assert listening_addresses(server.program.process.pid) == wanted


def listening_addresses(pid: int) -> set[tuple[str, int]]:
    """Where a process listens for TCP, on IPv4 and IPv6."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(descriptor))
        if match is not None:
            inodes.add(match[1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in inodes:
                address, _, port = local.partition(":")
                host = socket.inet_ntoa(bytes.fromhex(address)[::-1]) if table == "tcp" else address
                found.add((host, int(port, 16)))
    return found


async def test_an_admin_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = start(tmp_path, "--admin-port", str(port))
        try:
            assert await in_thread(program.wait_ended) == 1
        finally:
            program.end()
    assert program.errors.splitlines() == [
        f"mudserver: --admin-port {port}: something else is listening on 127.0.0.1:{port} already."
    ]


async def test_the_default_admin_port_is_no_reason_not_to_start(tmp_path: Path) -> None:
    """Two servers that name none: the second does without, and says so. Whoever has 4001 may be somebody else."""
    programs = [
        Program(
            tmp_path / name,
            *("--port", "0", "--data-dir", str(tmp_path / name / "data"), "--world", str(SMALL_WORLD)),
            *("--ready-file", str(tmp_path / name / "ready.json")),
        )
        for name in ("first", "second")
    ]
    try:
        for program in programs:
            await in_thread(program.wait_ready)
        without = [program for program in programs if "no admin port" in program.errors]
        assert without, "both have it"
        for program in without:
            warnings = [line for line in program.errors.splitlines() if " WARNING " in line]
            assert len(warnings) == 1
            assert "no admin port: --admin-port 4001: something else is listening on 127.0.0.1:4001" in warnings[0]
            assert Server(program).port != 4001
            assert (await in_thread(ask, Server(program).port, "/healthz")).status == 200
    finally:
        for program in programs:
            program.end()
    assert [program.process.returncode for program in programs] == [0, 0]
