"""A room full of talk: several players speak at a steady rate, and what each is shown is held against all of it."""

import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any, NamedTuple

import trio
from trio_websocket import ConnectionClosed

from mudserver.realtime.nats_message_handler import SILENCE, VOICES
from tests.integration.players import Door, JsonPlayer, TextPlayer
from tests.integration.programs import Program

SECONDS_MAX = 15.0
"""How long anything may take that is over in a second or two when the machine has nothing else to do."""

PAUSE_SECONDS = 0.16
"""Between two lines of one talker: four talkers are 25 lines a second, and nobody is over the limit on lines."""

TALKERS = ("Alice", "Bob", "Dora", "Emil")
LISTENERS = ("Carol", "Frank")
JSON_PLAYERS = ("Emil", "Carol")

OWN = "You say: "


class Seen(NamedTuple):
    """One thing that one player was shown."""

    text: str
    at: float


class Seat:
    """A player of the talk: reads all that comes, and speaks if asked to; `words` is all they said, in order."""

    def __init__(self, player: TextPlayer | JsonPlayer, changed: Callable[[], None]) -> None:
        self.player = player
        self.name = player.name
        self.words: list[str] = []
        self.seen: list[Seen] = []
        self.ticks: list[int] = []
        self._changed = changed

    async def read(self) -> None:
        """Until cancelled, or until the connection ends."""
        try:
            while True:
                text = await self._next()
                if text is not None:
                    self.seen.append(Seen(text, time.monotonic()))
                self._changed()
        except ConnectionClosed:
            self._changed()

    async def _next(self) -> str | None:
        if isinstance(self.player, TextPlayer):
            return await self.player.next_line()
        envelope = await self.player.next_envelope()
        return self._text_of(envelope["event_type"], envelope["data"])

    def _text_of(self, event_type: str, data: dict[str, Any]) -> str | None:
        match event_type:
            case "chat_message" | "system_notice":
                return str(data["message"])
            case "command_response":
                return str(data["result"])
            case "game_tick":
                self.ticks.append(data["tick_number"])
                return None
            case "player_entered_game":
                return None  # what the world hears of comings overtakes what the room hears
        return event_type

    async def talk(self, first: float) -> None:
        """Says one number after the other, until cancelled, at a pace that nothing holds up."""
        start = trio.current_time() + first
        lines = 0
        with suppress(ConnectionClosed):
            while True:
                await trio.sleep_until(start + lines * PAUSE_SECONDS)
                lines += 1
                await self.say()

    @property
    def next_words(self) -> str:
        """What they say next unless told otherwise: the number of the line."""
        return str(len(self.words))

    async def say(self, words: str | None = None) -> None:
        words = self.next_words if words is None else words
        self.words.append(words)
        # Shielded for this long: a frame must not be cut in half.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + SECONDS_MAX) as scope:
            if isinstance(self.player, TextPlayer):
                await self.player.type(f"say {words}")
            else:
                await self.player.command("say", words)
        assert not scope.cancelled_caught, f"{self.name} could not send a line"

    def has_seen(self, text: str, times: int = 1) -> bool:
        return self.count(text) >= times

    def count(self, text: str) -> int:
        return sum(each.text == text for each in self.seen)

    def when(self, text: str, time_: int = 1) -> float:
        """When it was shown that text for the first (second, …) time."""
        return [each.at for each in self.seen if each.text == text][time_ - 1]

    def lines(self) -> list[str]:
        return [each.text for each in self.seen]

    def heard(self, speaker: str) -> list[str]:
        """The words of one speaker, as this player was shown them."""
        return self._after(f"{speaker} says: ")

    def answers(self) -> list[str]:
        """Their own words, as this player was shown them."""
        return self._after(OWN)

    def _after(self, beginning: str) -> list[str]:
        return [each.text.removeprefix(beginning) for each in self.seen if each.text.startswith(beginning)]


class Talk:
    """What goes on in one room, from where a test does its damage."""

    def __init__(self) -> None:
        self.seats: list[Seat] = []
        self._change = trio.Event()
        self._talking = trio.CancelScope()
        self.outages = 0

    def changed(self) -> None:
        self._change.set()

    async def seat_player(self, player: TextPlayer | JsonPlayer) -> None:
        """Gives a newcomer a seat; those who have one see the newcomer come."""
        for seat in self.seats:
            if isinstance(seat.player, TextPlayer):
                await seat.player.see(f"{player.name} enters the room.")
            else:
                await seat.player.hear("player_entered", player_name=player.name)
                await seat.player.hear("room_occupants")
        self.seats.append(Seat(player, self.changed))

    async def run(self) -> None:
        """The talk, until `end`."""
        with self._talking:
            async with trio.open_nursery() as nursery:
                for number, seat in enumerate(self.talkers):
                    nursery.start_soon(seat.talk, number * PAUSE_SECONDS / len(TALKERS))

    @property
    def talkers(self) -> list[Seat]:
        return [seat for seat in self.seats if seat.name in TALKERS]

    def said(self) -> int:
        """How many lines were said so far, by all."""
        return sum(len(seat.words) for seat in self.talkers)

    def seat(self, name: str) -> Seat:
        return next(seat for seat in self.seats if seat.name == name)

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = SECONDS_MAX) -> None:
        """Waits until something shown to the players makes it true."""

        def holds_or_never_will() -> bool:
            gone = [seat.name for seat in self.seats if seat.player.is_gone]
            assert not gone, f"{gone} lost the connection"
            return holds()

        await self.wait(holds_or_never_will, what, seconds)

    async def wait(self, holds: Callable[[], bool], what: str, seconds: float = SECONDS_MAX) -> None:
        """As `until`, where players may be gone."""
        with trio.move_on_after(seconds):
            while not holds():
                await self._change.wait()
                self._change = trio.Event()
        assert holds(), f"it did not come true that {what}: {[(seat.name, seat.lines()[-5:]) for seat in self.seats]}"

    async def go_on(self, lines: int = 20) -> None:
        """Until so many more lines were said, and everybody has heard them."""
        await self._until_heard({seat.name: len(seat.words) + lines // len(self.talkers) for seat in self.talkers})

    async def _until_heard(self, lines: dict[str, int]) -> None:
        """Until everybody has heard so many lines of each speaker, or lines that were said later."""

        def heard_all() -> bool:
            return all(
                len(seat.heard(speaker)) >= count
                for seat in self.seats
                for speaker, count in lines.items()
                if seat.name != speaker
            )

        await self.until(heard_all, f"everybody hears {lines}")

    async def silence(self) -> float:
        """Until everybody was told that the broker is away; returns when the first was."""
        return await self._announcement(SILENCE)

    async def voices(self) -> float:
        """Until everybody was told that the broker is back; returns when the last was."""
        await self._announcement(VOICES)
        self.outages += 1
        return max(seat.when(VOICES, self.outages) for seat in self.seats)

    async def _announcement(self, text: str) -> float:
        times = self.outages + 1
        await self.until(lambda: all(seat.has_seen(text, times) for seat in self.seats), f"all see {text!r}")
        return min(seat.when(text, times) for seat in self.seats)

    def _news(self, seat: Seat) -> list[str]:
        return [line for line in seat.lines() if line in (SILENCE, VOICES)]

    async def end(self) -> None:
        """Nobody says more; everybody has heard all there is, and any copy has had the time to come."""
        self._talking.cancel()
        await self._until_heard({seat.name: len(seat.words) for seat in self.talkers})
        # What came twice would come by way of the broker, before this round of words.
        for seat in self.talkers:
            await seat.say("goodbye")
        await self._until_heard({seat.name: len(seat.words) for seat in self.talkers})

    def check(self) -> None:
        """Everybody is here and was shown every line exactly once, in the one order, and nothing else but the news."""
        news = [SILENCE, VOICES] * self.outages
        witness = [line for line in self.seat("Frank").lines() if line not in (SILENCE, VOICES)]
        said = [f"{speaker.name} says: {words}" for speaker in self.talkers for words in speaker.words]
        too_much = Counter(witness) - Counter(said)
        assert not too_much, f"Frank, who said nothing, saw what nobody said, or twice: {too_much}"
        assert len(witness) == len(said), "Frank, who said nothing, saw as many lines as were said"
        for seat in self.seats:
            assert not seat.player.is_gone, f"{seat.name} lost the connection"
            for speaker in self.talkers:
                if speaker is not seat:
                    assert seat.heard(speaker.name) == speaker.words, f"what {seat.name} heard of {speaker.name}"
            assert self._news(seat) == news, f"what news {seat.name} got: {self._news(seat)}"
            assert seat.answers() == seat.words, f"what answers {seat.name} got"
            talk = [each for each in seat.lines() if each not in news and not each.startswith(OWN)]
            # One order for all, and not a line that nobody said.
            own = f"{seat.name} says: "
            assert talk == [line for line in witness if not line.startswith(own)], f"the order {seat.name} saw"
            assert all(b - a == 1 for a, b in pairwise(seat.ticks)), f"the ticks {seat.name} saw: {seat.ticks}"
            if isinstance(seat.player, JsonPlayer):
                numbers = [each["sequence_number"] for each in seat.player.received]
                assert numbers == sorted(set(numbers)), f"{seat.name} got numbers that do not strictly rise"


@asynccontextmanager
async def lively_room(port: int, *, is_over: bool = True) -> AsyncIterator[Talk]:
    """Six players in one room, four of whom talk; at the end all is checked and everybody goes.

    `is_over=False` is for tests in which it is the server that goes.
    """
    talk = Talk()
    async with trio.open_nursery() as nursery:
        door = Door(port, nursery)
        try:
            for name in (*TALKERS, *LISTENERS):
                await talk.seat_player(await (door.json(name) if name in JSON_PLAYERS else door.text(name)))
            async with trio.open_nursery() as room:
                for seat in talk.seats:
                    room.start_soon(seat.read)
                room.start_soon(talk.run)  # noqa: ASYNC113 - the first lines are waited for
                await talk.go_on()
                yield talk
                if is_over:
                    await talk.end()
                room.cancel_scope.cancel()
            if is_over:
                talk.check()
                for seat in talk.seats:
                    await seat.player.quit()
        finally:
            # After a failure, too, the names are free for the next test.
            with trio.move_on_after(SECONDS_MAX, shield=True):
                for seat in talk.seats:
                    await seat.player.websocket.aclose()
            door.close()


# --- what the server has to say of it -------------------------------------------------------------------------------


class Record(NamedTuple):
    """One line of a server's log."""

    level: str
    message: str
    traceback: str | None


class LogBook:
    """What a server with `--log-format json` wrote since this was made."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._start = len(program.errors)

    def records(self) -> list[Record]:
        lines = self._program.errors[self._start :].splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [Record(each["level"], each["message"], each.get("traceback")) for each in found]

    def complaints(self) -> list[Record]:
        """Warnings and worse."""
        return [each for each in self.records() if each.level not in ("debug", "info")]

    def the_outage(self) -> "Outage":
        """The one outage there was: one warning, nothing worse and no other. Raises AssertionError."""
        outages = self.outages()
        assert len(self.complaints()) == len(outages) == 1, self.complaints()
        return outages[0]

    def outages(self) -> "list[Outage]":
        """All outages that have begun and ended, and nothing has failed."""
        records = self.records()
        assert all(each.traceback is None and each.level != "error" for each in records), self.complaints()
        losses = [match for each in records if (match := _LOSS.fullmatch(each.message)) and each.level == "warning"]
        returns = [match for each in records if (match := _RETURN.fullmatch(each.message))]
        return [
            Outage(loss[1], int(loss[2]), int(return_[2]), float(return_[1]))
            for loss, return_ in zip(losses, returns, strict=True)
        ]


class Outage(NamedTuple):
    """What the log says of one: why, how many events were on their way, how many were handed out, how long it was."""

    reason: str
    stranded: int
    handed_out: int
    seconds: float


_LOSS = re.compile(
    r"the link to the broker is lost: (.*); (\d+) events on their way were shown here only, and so is what comes"
)
_RETURN = re.compile(
    r"linked to the broker nats://127\.0\.0\.1:\d+ again after ([\d.]+) s; shown here only: (\d+) events"
)
