"""Random and mutated bytes at every place where bytes from elsewhere are read: only our own errors come out.

A few seconds by default; `FUZZ_SECONDS=300 scripts/test tests/faults/test_fuzz.py` goes on for minutes.
"""

import json
import logging
import os
from contextlib import suppress

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from mudserver.broker.memory import MemoryHub
from mudserver.config import Config, Limits
from mudserver.errors import MalformedFrame, MalformedMessage
from mudserver.game import rules
from mudserver.game.commands import VERB_NAMES, parse_command
from mudserver.game.events import Address, AnyFact, Event, Everywhere, InRoom
from mudserver.game.text import split_lines
from mudserver.game.world import World
from mudserver.server import Node
from mudserver.transport.listener import guard_connection
from mudserver.transport.stream import WrappedPlayerStream
from mudserver.wire.dialects import JSON, Line, decode, encode, text_dialect
from mudserver.wire.envelope import Stamped, decode_event, encode_payload, event_type_of, open_payload
from mudserver.wire.subjects import Subjects
from tests.faults.attacks import BOMBS, HEADS
from tests.faults.raw import close_frame, frame, request
from tests.faults.watch import until
from tests.wire.facts import ENTERED, ENTERED_GAME, LINKDEAD, QUAY, SAID, TICK
from tests.worlds import small_map

SECONDS = float(os.environ.get("FUZZ_SECONDS", "2"))
"""For each test here."""

LIMITS = Limits(handshake_seconds_max=0.2, sign_in_seconds_max=0.2, linkdead_seconds=0.01, close_seconds_max=0.05)
"""Real seconds: whoever sends nonsense shall not keep the fuzzer waiting."""


def budgeted(examples_a_second: int) -> settings:
    """As many examples as fit into the budget, on a machine that is not much slower than ours."""
    return settings(
        max_examples=max(20, int(SECONDS * examples_a_second)),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,) if SECONDS > 10 else (Phase.generate, Phase.shrink),
    )


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of the seeds, with a few bytes cut, changed, repeated or put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 8)))
        match draw(st.integers(0, 2)):
            case 0:
                data[start:end] = draw(st.binary(max_size=8))
            case 1:
                del data[start:end]
            case 2:
                data[start:start] = data[start:end] * draw(st.integers(1, 20))
    return bytes(data)


# --- the accept path ----------------------------------------------------------------------------------------------

WELL_BEHAVED = [frame(b"Mallory"), frame(b"say hello"), frame(b"", 9), frame(b"x", is_last=False), close_frame()]
FIRST_BYTES = [request(), *(head.sent for head in HEADS)]
STREAMS = st.tuples(
    st.one_of(mutated(FIRST_BYTES), st.just(request()), st.just(request())),
    st.lists(st.one_of(mutated(WELL_BEHAVED), st.sampled_from(WELL_BEHAVED), st.binary(max_size=64)), max_size=6),
)


async def _play_streams(streams: list[tuple[bytes, list[bytes]]]) -> None:
    """Each is one client of a node, all at the same time; afterwards nothing is left, and somebody can sign in."""
    node = Node(Config(limits=LIMITS), small_map(), MemoryHub().connect(), "n1")

    async def attack(head: bytes, frames: list[bytes]) -> None:
        client, server = memory_stream_pair()
        connections.start_soon(guard_connection, node.sessions.run_session, WrappedPlayerStream(server), "192.0.2.1")
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError), trio.move_on_after(1):
            await client.send_all(head)
            answer = await client.receive_some()
            if answer.startswith(b"HTTP/1.1 101 "):  # what comes before it is lost
                for part in frames:
                    await client.send_all(part)
            await client.send_eof()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError), trio.move_on_after(1):
            while await client.receive_some():
                pass
        await client.aclose()

    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        with trio.fail_after(10):
            async with trio.open_nursery() as connections:
                for head, frames in streams:
                    connections.start_soon(attack, head, frames)
        assert not node.sessions.open
        await until(lambda: not node.world.players, "nobody is left")
        with trio.fail_after(2):
            async with trio.open_nursery() as connections:
                client, server = memory_stream_pair()
                wrapped = WrappedPlayerStream(server)
                connections.start_soon(guard_connection, node.sessions.run_session, wrapped, "192.0.2.2")
                await client.send_all(request())
                seen = await client.receive_some()
                await client.send_all(frame(b"Alice"))
                while b"You are Alice" not in seen:
                    seen += await client.receive_some()
                await client.aclose()
        nursery.cancel_scope.cancel()


@budgeted(15)
@given(streams=st.lists(STREAMS, min_size=1, max_size=12))
def test_no_bytes_from_strangers_come_out_as_anything_but_one_line_in_the_log(
    streams: list[tuple[bytes, list[bytes]]],
) -> None:
    with _Tracebacks() as tracebacks:
        trio.run(_play_streams, streams)
    assert not tracebacks, tracebacks


class _Tracebacks(logging.Handler):
    """Collects log records with a traceback; hypothesis and the fixture caplog do not go together."""

    def __enter__(self) -> list[str]:
        self.seen: list[str] = []
        logging.getLogger("mudserver").addHandler(self)
        return self.seen

    def __exit__(self, *_: object) -> None:
        logging.getLogger("mudserver").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.seen.append(logging.Formatter().format(record))


# --- what players send --------------------------------------------------------------------------------------------

JSON_SEEDS = [
    b'{"type":"login","data":{"name":"Ithaqua","guest":false}}',
    b'{"type":"login","data":{"resume_token":"x","last_sequence_number":7}}',
    b'{"type":"command","data":{"command":"go","args":["north"]}}',
    b'{"type":"game_command","data":{"command":"say \\ud83d\\ude00"}}',
    b'{"type":"ping"}',
    *BOMBS.values(),
]


@budgeted(400)
@given(data=st.one_of(mutated(JSON_SEEDS), st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode())))
def test_any_json_message_is_a_request_or_malformed(data: bytes) -> None:
    message = data.decode(errors="replace")
    with suppress(MalformedFrame):
        for request_ in decode(JSON, message):
            assert not isinstance(request_, Line) or request_.text.isprintable()
    with pytest.raises(MalformedFrame):
        decode(JSON, data)


@st.composite
def any_text(draw: st.DrawFn) -> str:
    """Verbs and anything, with the characters that do harm made frequent."""
    harm = st.sampled_from("\x00\x07\x08\x1b\x7f\x9b\x9d\u200b\u202e\u2028\ufeff\ufdd0\U000e0041\r\n\t '\":?\u0130ß")
    verb = draw(st.one_of(st.sampled_from(VERB_NAMES), st.just("")))
    return verb + " " + draw(st.text(st.one_of(harm, st.characters(codec="utf-8")), max_size=80))


@budgeted(250)
@given(lines=st.lists(st.one_of(any_text(), st.sampled_from(["tell alice ", "reply ", "look bob"])), max_size=8))
def test_whatever_is_typed_the_rules_answer_and_every_frame_is_printable(lines: list[str]) -> None:
    world = World(small_map(), "n1")
    players = []
    for name in ("Alice", "Bob"):
        entered = rules.enter_game(world, name)
        assert isinstance(entered, tuple)
        players.append(entered[0])
    for number, typed in enumerate(lines):
        for line in split_lines(typed):
            assert line.isprintable()
            outcome = rules.apply(world, players[number % 2].id, parse_command(line))
            for shown in (*outcome.answers, *outcome.events):
                for dialect in (JSON, text_dialect(colour=False, ticks=True)):
                    encoded = encode(dialect, shown, 1, "2026-11-23T08:31:00Z")
                    if encoded is not None:
                        text = encoded[2:] if encoded[1] < 126 else encoded[4:]
                        assert text.decode().replace("\r\n", "").isprintable()
            if outcome.wish is not None and type(outcome.wish).__name__ == "Quit":
                return


@budgeted(400)
@given(data=st.one_of(st.binary(max_size=300), any_text().map(lambda t: t.encode())))
def test_any_text_message_is_lines_without_control_characters(data: bytes) -> None:
    dialect = text_dialect(colour=False, ticks=False)
    for message in (data, data.decode(errors="replace")):
        lines = decode(dialect, message)
        assert all(isinstance(each, Line) and each.text.isprintable() for each in lines)


# --- what other nodes send ----------------------------------------------------------------------------------------

SUBJECTS = Subjects("mud")
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("1911-10-27T17:14:00"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FACTS: list[tuple[AnyFact, Address]] = [
    (ENTERED, InRoom(QUAY)),
    (LINKDEAD, InRoom(QUAY)),
    (ENTERED_GAME, Everywhere()),
    (SAID, InRoom(QUAY)),
    (TICK, Everywhere()),
]
PAYLOADS = [encode_payload(Stamped(Event(fact, to), "n2", 1000, "2026-11-23T08:31:00Z")) for fact, to in FACTS] + list(
    BOMBS.values()
)
SUBJECT_SEEDS = [SUBJECTS.subject(to, event_type_of(fact)).encode() for fact, to in FACTS]


@budgeted(600)
@given(subject=mutated(SUBJECT_SEEDS), payload=mutated(PAYLOADS))
def test_any_nats_message_is_an_event_that_can_be_shown_or_malformed(subject: bytes, payload: bytes) -> None:
    with suppress(MalformedMessage):
        to, event_type = SUBJECTS.parse(subject.decode(errors="surrogateescape"))
        event = decode_event(open_payload(payload), to, event_type).event
        for dialect in (JSON, text_dialect(colour=True, ticks=True)):
            encode(dialect, event, 1, "2026-11-23T08:31:00Z")
        shown = encode(text_dialect(colour=False, ticks=True), event, 1, "2026-11-23T08:31:00Z")
        if shown is not None:
            text = shown[2:] if shown[1] < 126 else shown[4:]
            assert text.decode().replace("\r\n", "").isprintable()


@budgeted(300)
@given(which=st.sampled_from(FACTS), values=st.dictionaries(st.integers(0, 6), JSON_VALUES, max_size=3))
def test_a_nats_message_with_strange_values_is_an_event_that_can_be_shown_or_malformed(
    which: tuple[AnyFact, Address], values: dict[int, object]
) -> None:
    fact, to = which
    whole = json.loads(encode_payload(Stamped(Event(fact, to), "n2", 1000, "2026-11-23T08:31:00Z")))
    names = list(whole["data"])
    for at, value in values.items():
        whole["data"][names[at % len(names)]] = value
    with suppress(MalformedMessage):
        event = decode_event(open_payload(json.dumps(whole).encode()), to, event_type_of(fact)).event
        for dialect in (JSON, text_dialect(colour=True, ticks=True)):
            encode(dialect, event, 1, "2026-11-23T08:31:00Z")
