"""People: what they do all day, drawn from their own dice."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import trio

from mudserver.game.ids import RoomId
from mudserver.game.world import Room
from tests.simulation.client import Attach, Client, JsonClient, TextClient
from tests.simulation.diary import Diary
from tests.simulation.expectations import Visit
from tests.simulation.oracle import Oracle
from tests.simulation.plan import GRID, Plan

PATIENCE_SECONDS = 1.0
"""Within which the server must answer a greeting. Nothing but its own waits takes any time here."""

HALF_OPEN_SECONDS_MAX = 75.0
"""From a line's vanishing to the next ping, its missing answer, and the round that finds it."""

WAYS = ("north", "south", "east", "west", "up", "down", "in", "out", "ne", "sw")
SILENT_LENGTHS = (0.0, 0.0, 1 / GRID, 1.0, 5.0, 20.0, 29.875, 30.0, 30.125, 45.0)
"""How long somebody is away whose line died: around the grace of 30 s, too."""

_DEEDS = (
    ("say", 30.0),
    ("walk", 30.0),
    ("emote", 6.0),
    ("tell", 10.0),
    ("shout", 1.2),
    ("who", 3.0),
    ("look", 3.0),
    ("ticks", 1.0),
    ("flood", 0.4),
    ("stall", 2.0),
    ("die", 2.0),
    ("vanish", 0.4),
    ("take over", 0.6),
    ("quit", 0.6),
    ("hang up", 0.4),
)
_NAMES, _WEIGHTS = zip(*_DEEDS, strict=True)


@dataclass(slots=True)
class Stage:
    """What all people share. `curtain` is when they go home (virtual seconds); `attach` gives the server a line."""

    plan: Plan
    oracle: Oracle
    diary: Diary
    nursery: trio.Nursery
    attach: Attach
    curtain: float
    rooms: Mapping[RoomId, Room]
    words: int = 0

    def new_word(self) -> str:
        """A word that nobody has said before, so that whatever is heard can be known again."""
        self.words += 1
        return f"w{self.words}~"


class Bot:
    """One person. `client` is the connection they are on now, `visit` whom they last were in the game."""

    def __init__(self, name: str, stage: Stage, *, is_json: bool) -> None:
        self.name = name
        self.client: Client | None = None
        self.visit: Visit | None = None
        self.gone_since = 0.0
        """Since when the server may have known that the line is dead, or would have found out."""
        self._stage = stage
        self._dice: random.Random = stage.plan.chance(f"bot/{name}")
        self._make: Callable[..., Client] = JsonClient if is_json else TextClient
        self._key: str | None = None
        self._old_key: str | None = None
        self._nudge = trio.Event()
        self._seconds_between = stage.plan.players / stage.plan.actions_per_second
        self._expects_close: frozenset[int | None] = frozenset()

    @property
    def is_playing(self) -> bool:
        """Whether they are in the game on a living line, and read."""
        client = self.client
        return client is not None and client.visit is not None and client.is_reading and not client.is_ended

    def nudge(self) -> None:
        """Makes them act within the next second, several times."""
        self._nudge.set()

    async def live(self) -> None:
        """Comes and goes until the curtain falls, and goes home then."""
        await self._pause(self._dice.uniform(0, min(60.0, self._seconds_between)))
        while not self._is_over():
            await self._stay()
            if not self._is_over():
                await self._stay_away()
        self.go_home()

    def go_home(self) -> None:
        """Drops the line, if there is one."""
        if self.client is not None:
            self.client.drop()

    def _is_over(self) -> bool:
        return trio.current_time() >= self._stage.curtain

    def _at(self, seconds: float) -> float:
        """The step of the grid nearest to so many seconds from now, and later than now."""
        now = trio.current_time()
        return max(round((now + seconds) * GRID), int(now * GRID) + 1) / GRID

    async def _pause(self, seconds: float) -> None:
        await trio.sleep_until(self._at(seconds))

    async def _think(self) -> int:
        """Waits for the next wish, a nudge or the end of the line. Returns how many things to do in a row."""
        wake_at = min(self._stage.curtain, self._at(self._dice.expovariate(1 / self._seconds_between)))
        with trio.move_on_at(wake_at):
            await self._nudge.wait()
        was_nudged = self._nudge.is_set()
        self._nudge = trio.Event()
        return self._dice.randint(1, 5) if was_nudged else 1

    # --- a connection ---

    async def _stay(self) -> None:
        """From connecting to the end of the connection."""
        client = await self._connect()
        if not await self._enter(client):
            client.drop()
            return
        while not self._is_over() and not client.is_ended:
            deeds = await self._think()
            while deeds and not self._is_over() and not client.is_ended:
                await self._act(client)
                client = self.client or client
                deeds -= 1
                if deeds and self._dice.random() < 0.5:
                    await self._pause(1 / GRID)
        if not client.is_ended and self._dice.random() < 0.5:
            await self._quit(client)
        self._end_of(client)

    async def _connect(self) -> Client:
        bytes_max = self._dice.choice((512, 4096, 65536))
        client = self._make(self.name, self._stage.oracle, self._stage.diary, bytes_max)
        client.on_end = self.nudge
        self._expects_close = frozenset()
        await self._stage.nursery.start(client.run, self._stage.attach)
        await client.wait_for(lambda: client.has_heard, PATIENCE_SECONDS)
        return client

    async def _enter(self, client: Client) -> bool:
        """Comes back by key if there is one, else signs in by name. Says whether they are in."""
        before = self.client
        self.client = client
        if self._old_key is not None and self._dice.random() < 0.1:
            self._does("tries a key a second time")
            await client.resume(self._old_key, None)
            await client.wait_for(lambda: client.refusal or client.visit, PATIENCE_SECONDS)
            if client.visit is not None:
                self._stage.oracle.fail(f"a key of {self.name} opened twice", self.name)
            client.refusal = None
        if self._key is not None and self.visit is not None:
            key, self._key = self._key, None
            number = before.last_number if before is not None and self._dice.random() < 0.8 else None
            if before is not None:
                before.is_ghost = True
                if number is None:
                    before.forget_unread()
            self._does(f"resumes {self.visit.name}" + ("" if number is None else f" after frame {number}"))
            client.visit = self.visit
            self.visit.excuse_answers()
            await client.resume(key, number)
            await client.wait_for(lambda: client.key or client.refusal, PATIENCE_SECONDS)
            self._old_key = key
            if client.key is not None:
                return await self._is_in(client)
            if self.visit.player_id in self._stage.oracle.visits:
                self._stage.oracle.fail(f"{self.name} came back with the right key and was refused", self.name)
            client.refusal = None
        name = "guest" if self._dice.random() < 0.1 else self.name
        self._does(f"signs in as {name}")
        await client.sign_in(name)
        if not await client.wait_for(lambda: client.key or client.refusal, PATIENCE_SECONDS):
            self._stage.oracle.fail(f"{self.name} got no answer at the door", self.name)
        if client.refusal is not None and self._stage.oracle.visit_of(name) is None:
            self._stage.oracle.fail(f"nobody is called {name}, yet the name was refused", self.name)
        return client.key is not None and await self._is_in(client)

    async def _is_in(self, client: Client) -> bool:
        self.visit = client.visit
        self._key = client.key
        # What was on its way at the instant of coming in may be shown or not; it shall have been read before anything
        # else happens to this line.
        await self._pause(1 / GRID)
        return True

    def _end_of(self, client: Client) -> None:
        """The connection is over; was there a reason for that?"""
        if client.is_reading and client.is_ended and client.close_code not in (*self._expects_close, None):
            self._stage.oracle.fail(f"{self.name}'s connection was closed with {client.close_code}", self.name)
        if client.is_reading and client.is_ended and not self._expects_close:
            self._stage.oracle.fail(f"{self.name}'s connection was ended for no reason", self.name)
        client.drop()

    def _leaves(self, client: Client) -> None:
        """They go for good: whatever comes from here on need not arrive."""
        self._key = None
        self._expects_close = frozenset((1000, 1008))
        client.is_leaving = True

    async def _stay_away(self) -> None:
        self._does("is away")
        if self._key is None:
            await self._pause(self._dice.expovariate(1 / 40))
        else:
            await self._pause(self._dice.choice(SILENT_LENGTHS))

    # --- deeds ---

    def _does(self, what: str) -> None:
        self._stage.diary.did(self.name, what)

    async def _act(self, client: Client) -> None:
        deed = self._dice.choices(_NAMES, _WEIGHTS)[0]
        word = self._stage.new_word()
        match deed:
            case "say":
                words = " ".join(["hm"] * self._dice.choice((1, 1, 1, 1, 40))) + f" {word}"
                await self._speak(client, f"say {words}", f"You say: {words}")
            case "emote":
                await self._speak(client, f"emote waits {word}", f"{self._visit_of(client).name} waits {word}")
            case "shout":
                await self._speak(client, f"shout help {word}", f"You shout: help {word}")
            case "tell":
                other = self._dice.choice(sorted(each.name for each in self._stage.oracle.visits.values()) or ["me"])
                if other != self._visit_of(client).name:
                    await self._speak(client, f"tell {other} hey {word}", f"You tell {other}: hey {word}", maybe=True)
            case "walk":
                await self._speak(client, self._a_way_out(client))
            case "who":
                self._visit_of(client).asked_who_at = trio.current_time()
                await self._speak(client, "who")
            case "look":
                await self._speak(client, "look")
            case "ticks":
                if not isinstance(client, JsonClient):
                    self._visit_of(client).ticks_unanswered += 1
                await self._speak(client, f"ticks {self._dice.choice(('on', 'off'))}")
            case "flood":
                await self._flood(client, self._dice.choice((15, 25, 45, 60)))
            case "stall":
                await self._stall(client)
            case "die":
                self._does("loses the line")
                client.drop()
                await client.wait_for(lambda: client.is_ended, PATIENCE_SECONDS)
                self._expects_close = frozenset((None,))
            case "vanish":
                await self._vanish(client)
            case "take over":
                await self._take_over(client)
            case "quit":
                await self._quit(client)
            case "hang up":
                self._does("hangs up")
                self._leaves(client)
                await client.hang_up()
                await client.wait_for(lambda: client.is_ended, PATIENCE_SECONDS)

    async def _quit(self, client: Client) -> None:
        self._does("quit")
        self._leaves(client)
        await client.command("quit")
        await client.wait_for(lambda: client.is_ended, PATIENCE_SECONDS)

    def _visit_of(self, client: Client) -> Visit:
        assert client.visit is not None
        return client.visit

    def _a_way_out(self, client: Client) -> str:
        ways: Sequence[str] = WAYS
        if client.room_id is not None and self._dice.random() < 0.95:
            ways = [way.value for way in self._stage.rooms[client.room_id].exits]
        return self._dice.choice(ways)

    async def _speak(self, client: Client, line: str, answer: str | None = None, *, maybe: bool = False) -> None:
        self._does(line)
        if answer is not None:
            client.expects_answer(answer, maybe=maybe)
        if not await client.command(line) and client.visit is not None:
            client.visit.excuse_answers()

    async def _flood(self, client: Client, lines: int) -> None:
        """Too much at once: some of it is refused, and the connection perhaps ended."""
        self._does(f"floods with {lines} lines")
        self._expects_close = frozenset((1008,))
        client.is_flooding = True
        for _ in range(lines):
            words = self._stage.new_word()
            client.expects_answer(f"You say: {words}", maybe=True)
            if not await client.command(f"say {words}"):
                break
        await self._pause(2.0)
        if client.is_ended:
            self._key = None
        else:
            client.is_flooding = False
            self._expects_close = frozenset()
            await self._pause(3.0)

    async def _stall(self, client: Client) -> None:
        await self._pause(1 / GRID)  # whatever was written at this instant shall have been read
        self._does("stops reading")
        client.stall()
        self._expects_close = frozenset((3008, 3010, None))
        await self._pause(self._dice.choice((1.0, 4.0, 10.0, 40.0)))
        if self._dice.random() < 0.3:
            self._does("loses the line without having read on")
            client.drop()
            await client.wait_for(lambda: client.is_ended, PATIENCE_SECONDS)
            return
        self._does("reads on")
        client.go_on()
        await self._pause(1.0)
        if not client.is_ended:
            await self._pause(3.0)  # the server may still be at closing it
            if not client.is_ended:
                self._expects_close = frozenset()

    async def _vanish(self, client: Client) -> None:
        self._does("vanishes without a word")
        client.vanish()
        self._expects_close = frozenset((None, 3008, 3010))
        await self._pause(self._dice.choice((1.0, 20.0, HALF_OPEN_SECONDS_MAX, 2 * HALF_OPEN_SECONDS_MAX)))
        if self._dice.random() < 0.5:
            await self._take_over(client)
        else:
            client.drop()
            await client.wait_for(lambda: client.is_ended, PATIENCE_SECONDS)

    async def _take_over(self, client: Client) -> None:
        """Comes back on a second connection while the first still seems to live."""
        self._does("connects once more")
        second = await self._connect()
        if not await self._enter(second):
            second.drop()
            await second.wait_for(lambda: second.is_ended, PATIENCE_SECONDS)
            self._expects_close = frozenset((None,))
        client.drop()
