"""Two players who were there before, talk all the time, and count every byte they are sent."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from tests.faults.raw import SECONDS_MAX, RawClient, connect, frame, json_frame
from tests.faults.watch import Watch, until

OFFENDER = "Mallory"

NEVER_SEEN: tuple[str, ...] = ()
"""What others see of somebody who never got as far as a name."""
CAME_AND_LEFT = ("player_entered", "player_left")
"""Of somebody who went, or was shown the door."""
CAME_AND_LOST_THE_LINE = ("player_entered", "player_linkdead", "player_left")
"""Of somebody whose line died, and who was waited for in vain."""

_WORDS = {
    "player_entered": "Mallory enters the room.",
    "player_linkdead": "Mallory stops in the middle of a thought: the line is lost.",
    "player_left": "Mallory leaves the room.",
}

ROUND_SECONDS = 0.15
"""Between two rounds of talk: slower than the limit on lines."""

_STAMPS = re.compile(rb'"timestamp":"[0-9T:-]{19}Z","sequence_number":\d+')
_IDS = re.compile(rb'"n[0-9a-f]{8}-([pm])\d+"')


def without_stamps(payload: bytes) -> bytes:
    """A JSON frame with what differs from run to run (time, numbers, ids of players and messages) left blank."""
    return _IDS.sub(rb'"\1"', _STAMPS.sub(b'"timestamp":"","sequence_number":0', payload))


def _envelope(event_type: str, data: str, rest: str = "") -> bytes:
    return f'{{"event_type":"{event_type}","timestamp":"","sequence_number":0,"data":{{{data}}}{rest}}}'.encode()


def answered(words: str) -> bytes:
    """A speaker's own line, in JSON."""
    return _envelope("command_response", f'"result":"You say: {words}"')


def said(name: str, words: str) -> bytes:
    """Somebody else's line, in JSON."""
    message = f'"channel":"say","message":"{name} says: {words}","message_id":"m"'
    return _envelope(
        "chat_message", f'"sender_id":"p","player_name":"{name}",{message}', ',"room_id":"hall","player_id":"p"'
    )


def moved(event_type: str) -> bytes:
    """The offender's coming, going or losing the line, in JSON."""
    place = '"room_id":"hall","room_name":"The Hall"'
    data = f'"player_id":"p","player_name":"{OFFENDER}",{place},"message":"{_WORDS[event_type]}"'
    return _envelope(event_type, data, ',"room_id":"hall","player_id":"p"')


def _in_the_game(came_or_went: str) -> bytes:
    who = f'"player_id":"p","player_name":"{OFFENDER}"'
    return _envelope(f"player_{came_or_went}_game", who, ',"player_id":"p"')


class Witnesses:
    """Alice, who reads text, and Carol, who reads JSON, in the hall."""

    def __init__(self, alice: RawClient, carol: RawClient, watch: Watch) -> None:
        self.alice = alice
        self.carol = carol
        self.watch = watch
        self.rounds = 0
        self._alice_due: list[bytes] = []
        self._carol_due: list[bytes] = []
        self._descriptors = watch.descriptors()
        self._log_bytes = len(watch.log())
        self._alice_from = len(alice.messages)
        self._carol_from = len(carol.messages)

    async def talk(self) -> None:
        """A round: each says a line, and waits until both have it."""
        self.rounds += 1
        words = f"round {self.rounds} from Alice."
        await self.alice.send(frame(f"say {words}".encode()))
        self._alice_due.append(f"You say: {words}\r\n".encode())
        self._carol_due.append(said("Alice", words))
        await self._hear(self.alice, self.carol, words)
        words = f"round {self.rounds} from Carol."
        await self.carol.send(json_frame("command", {"command": "say", "args": words.split()}))
        self._alice_due.append(f"Carol says: {words}\r\n".encode())
        self._carol_due.append(answered(words))
        await self._hear(self.alice, self.carol, words)

    async def _hear(self, one: RawClient, other: RawClient, words: str) -> None:
        with trio.fail_after(SECONDS_MAX):
            await one.read_until(words.encode())
            await other.read_until(words.encode())

    async def _talk_on(self) -> None:
        while True:
            await trio.sleep(ROUND_SECONDS)
            with trio.CancelScope(shield=True):  # a round is not left half said; `talk` has deadlines of its own
                await self.talk()

    @asynccontextmanager
    async def talking(self) -> AsyncIterator[None]:
        """They talk before, during and after what happens inside."""
        await self.talk()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._talk_on)
            yield
            nursery.cancel_scope.cancel()
        await self.talk()

    def alice_heard(self) -> list[bytes]:
        """Every frame that Alice got since she came in, but for the rounds of talk, which are checked here."""
        return _without(self._alice_due, self.alice.messages[self._alice_from :])

    def carol_heard(self) -> list[bytes]:
        """The same of Carol, without stamps and without lists of occupants."""
        heard = self.carol.messages[self._carol_from :]
        numbers = [json.loads(each)["sequence_number"] for each in heard]
        assert numbers == sorted(set(numbers)), f"Carol got numbers that do not strictly rise: {numbers}"
        lists = [json.loads(each)["data"] for each in heard if b'"room_occupants"' in each]
        assert all(set(each["occupants"]) <= {"Alice", "Carol", OFFENDER} for each in lists)
        if lists:
            assert lists[-1]["occupants"] == ["Alice", "Carol"], "the last list still names somebody who has gone"
        # Alice's coming into the game may reach Carol after her own: it is heard by another subscription than the room.
        dull = (b'"room_occupants"', b'"player_entered_game"')
        others = [without_stamps(e) for e in heard if OFFENDER.encode() in e or not any(each in e for each in dull)]
        others = [each for each in others if dull[0] not in each]
        return _without(self._carol_due, others)

    async def saw(self, seen: Sequence[str]) -> None:
        """They got every round of talk and, of the offender, exactly this, byte for byte; nothing is left over."""
        async with self.talking():
            await self.watch.settles(connections=2, descriptors=self._descriptors)
            await self.watch.settles_players(2)
        assert self.alice_heard() == [f"{_WORDS[each]}\r\n".encode() for each in seen]
        heard = self.carol_heard()
        in_the_room = [each for each in heard if b'"room_id"' in each]
        assert in_the_room == [moved(each) for each in seen]
        # What all the world hears comes by a subject of its own, so its order beside the room's is not promised.
        of_the_game = [each for each in heard if each not in in_the_room]
        assert of_the_game == ([_in_the_game("entered"), _in_the_game("left")] if seen else [])

    def new_log_lines(self) -> list[str]:
        """What the server logged since these two were in."""
        return self.watch.log()[self._log_bytes :].splitlines()

    async def one_log_line(self) -> str:
        """The one line that the server logged since these two were in, with nothing in it that steers a terminal."""
        await until(lambda: bool(self.new_log_lines()), "the server has logged something")
        lines = self.new_log_lines()
        assert len(lines) == 1, lines
        assert "127.0.0.1" in lines[0]
        assert lines[0].isascii()
        assert lines[0].isprintable()
        return lines[0]


def _without(due: list[bytes], heard: list[bytes]) -> list[bytes]:
    """What was heard beside the talk that was due; each line of talk must be there once, in its order."""
    rounds = re.compile(rb"round \d+ from")
    talk = [each for each in heard if rounds.search(each)]
    assert talk == due, "somebody did not hear every line once and in order"
    return [each for each in heard if not rounds.search(each)]


@asynccontextmanager
async def open_witnesses(watch: Watch) -> AsyncIterator[Witnesses]:
    """Both in the hall; they quit at the end, and then nobody is left."""
    descriptors = watch.descriptors()
    alice = await connect(watch.port)
    carol = await connect(watch.port)
    with alice.sock, carol.sock:
        await alice.sign_in("Alice")
        await carol.sign_in("Carol", as_json=True)
        await alice.read_until(b"Carol enters the room.\r\n")
        await watch.settles(2, descriptors + 2)
        yield Witnesses(alice, carol, watch)
        await alice.send(frame(b"quit"))
        assert await alice.read_to_end() == "1000 goodbye"
        await carol.send(json_frame("command", {"command": "quit"}))
        assert await carol.read_to_end() == "1000 goodbye"
    await watch.settles(0, descriptors)
