"""`mudserver replay`: what an event log tells afterwards: who was where, and any room's screen at any time."""

import argparse
import io
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TextIO

import msgspec

from mudserver.errors import MalformedMessage
from mudserver.game import events as e
from mudserver.game.ids import PlayerId, RoomId, is_token
from mudserver.services.event_log import decode_line, parts_of
from mudserver.wire.dialects import TextDialect, as_text

EXIT_CANNOT_READ = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

LINE_BYTES_MAX = 1024 * 1024
"""A line of the log: ours measure less than a kilobyte, and a file without newlines must not fill the memory."""

LINES_BEFORE = 20
"""What --at shows of the time before: about a screen."""

PAUSE_SECONDS_MAX = 3600.0
"""The longest that --speed waits for the next line."""

NOT_KNOWN = "Who is here is not known: the log begins later."

PLAIN = TextDialect()

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


# --- reading -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log: an event, when and by which node it was published, how many are missing before it."""

    event: e.Event
    moment: datetime
    node: str
    dropped_before: int


def read_log(path: Path, on_bad_line: Callable[[str], None] = lambda problem: None) -> Iterator[Entry]:
    """The entries of all parts of a log, the oldest first, one at a time.

    `on_bad_line` gets a sentence for each line that cannot be read. Raises OSError if a file cannot be.
    """
    with ExitStack() as stack:
        files: dict[int, tuple[Path, BinaryIO]] = {}
        # The newest first, and each file once by its inode: the server may rotate them while we open them.
        for part in parts_of(path).values() or [path]:
            file: BinaryIO = stack.enter_context(part.open("rb"))
            files.setdefault(os.fstat(file.fileno()).st_ino, (part, file))
        for part, file in reversed(files.values()):
            for number, line in _numbered_lines(file):
                try:
                    yield _entry(line)
                except MalformedMessage as error:
                    is_torn = part == path and not line.endswith(b"\n") and len(line) <= LINE_BYTES_MAX
                    why = "is torn off, as when a server is killed" if is_torn else f"cannot be read: bad {error}"
                    on_bad_line(f"{part}, line {number} {why}; it is left out.")


def _numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, from 1 on. Of one that is far too long only the beginning comes."""
    number = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        yield number, line
        while len(line) > LINE_BYTES_MAX and not line.endswith(b"\n"):
            line = file.readline(LINE_BYTES_MAX + 1)


def _entry(line: bytes) -> Entry:
    stamped, dropped_before = decode_line(line)
    try:
        # Never shown as it was read: it is a stranger's text, like all the rest of the line.
        moment = msgspec.convert(stamped.timestamp, datetime)
    except msgspec.ValidationError:
        raise MalformedMessage("timestamp") from None
    if moment.tzinfo is not UTC:
        raise MalformedMessage("timestamp")
    return Entry(stamped.event, moment, stamped.node, dropped_before)


# --- who was where -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Person:
    """Somebody in the game."""

    name: str
    room_id: RoomId
    is_linkdead: bool = False


class Whereabouts:
    """Who stands where, rebuilt from comings and goings. Also right after a gap in the log, as far as that can be.

    Of those who were there before a log begins, because older parts of it are gone, nothing is known until they move.
    """

    def __init__(self) -> None:
        self._people: dict[PlayerId, Person] = {}
        self._node: str | None = None
        self._is_whole = True

    def take(self, entry: Entry) -> bool:
        """Takes in the next entry. Says whether it is the first of a server started anew, where nobody is left."""
        is_new_server = self._node is not None and entry.node != self._node
        if self._node is None:
            self._is_whole = _is_first_of_a_server(entry.event.fact)
        elif is_new_server:
            self._people.clear()
            self._is_whole = True
        self._node = entry.node
        match entry.event.fact:
            case e.PlayerEntered(player_id, name, room_id) | e.PlayerReturned(player_id, name, room_id):
                self._put(player_id, Person(name, room_id))
            case e.PlayerLinkdead(player_id, name, room_id):
                self._put(player_id, Person(name, room_id, is_linkdead=True))
            case e.PlayerLeft(player_id) | e.PlayerLeftGame(player_id):
                self._people.pop(player_id, None)
        return is_new_server

    def inside(self, room_id: RoomId) -> str:
        """'Here: Alice, Bob (has lost the line).', in the order of arrival."""
        names = [
            f"{each.name} (has lost the line)" if each.is_linkdead else each.name
            for each in self._people.values()
            if each.room_id == room_id
        ]
        here = f"Here: {', '.join(names)}." if names else ""
        if self._is_whole:
            return here or "Nobody is here."
        return f"{here} Who else is here is not known: the log begins later." if here else NOT_KNOWN

    def _put(self, player_id: PlayerId, person: Person) -> None:
        before = self._people.get(player_id)
        if before is None or before.room_id != person.room_id:
            self._people.pop(player_id, None)  # arrives last of all
        self._people[player_id] = person


def _is_first_of_a_server(fact: object) -> bool:
    """Whether this is what a server publishes first: its first player comes, or its clock strikes for the first time.

    The first player of a server is number 1 in its ids (`World.add`).
    """
    match fact:
        case e.PlayerEnteredGame(player_id):
            return player_id.endswith("-p1")
        case e.GameTick(tick_number):
            return tick_number == 1
        case _:
            return False


# --- the rooms -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class RoomSeen:
    """What the log says of a room."""

    first: datetime
    last: datetime
    events: int = 0
    name: str = ""


def list_rooms(entries: Iterable[Entry], at: datetime | None) -> Iterator[str]:
    """A table of the rooms in which something happened, by id; with `at`, only what was before, and who stood there."""
    rooms: dict[RoomId, RoomSeen] = {}
    whereabouts = Whereabouts()
    for entry in entries:
        if at is not None and entry.moment >= at:
            break
        whereabouts.take(entry)
        if isinstance(entry.event.to, e.InRoom):
            room = rooms.setdefault(entry.event.to.room_id, RoomSeen(entry.moment, entry.moment))
            room.events += 1
            room.last = entry.moment
            room.name = _room_name(entry) or room.name
    width = max((len(each) for each in rooms), default=4)
    yield f"{'ROOM':{width}}  EVENTS  {'FIRST':20}  {'LAST':20}  NAME"
    for room_id, room in sorted(rooms.items()):
        yield f"{room_id:{width}}  {room.events:6}  {_told(room.first)}  {_told(room.last)}  {room.name}"
        if at is not None:
            yield f"{'':{width}}  {whereabouts.inside(room_id)}"


def room_title(entries: Iterable[Entry], room_id: RoomId) -> str | None:
    """'The Salt Quay (harbour-salt-quay)'; None if nothing ever happened in that room."""
    title = None
    for entry in entries:
        if entry.event.to == e.InRoom(room_id):
            title = room_id
            if name := _room_name(entry):
                return f"{name} ({room_id})"
    return title


def _room_name(entry: Entry) -> str | None:
    return getattr(entry.event.fact, "room_name", None)


def _told(moment: datetime) -> str:
    return moment.strftime(TIME_FORMAT)


@dataclass(frozen=True, slots=True)
class Shown:
    """Lines to put on the screen at a moment of the past; None: at once."""

    moment: datetime | None
    lines: list[str]


def room_screen(entries: Iterable[Entry], room_id: RoomId, at: datetime | None) -> Iterator[Shown]:
    """What somebody standing in the room would have seen; with `at`, who stood there then, the last lines before that
    time, and what came from it on.
    """
    whereabouts = Whereabouts()
    before: deque[Shown] = deque(maxlen=LINES_BEFORE)
    has_begun = at is None
    for entry in entries:
        if at is not None and not has_begun and entry.moment >= at:
            has_begun = True
            yield _snapshot(whereabouts, room_id, at, before)
        is_new_server = whereabouts.take(entry)
        if lines := _lines(entry, room_id, is_new_server=is_new_server):
            shown = Shown(entry.moment, lines)
            if has_begun:
                yield shown
            else:
                before.append(shown)
    if at is not None and not has_begun:
        yield _snapshot(whereabouts, room_id, at, before)


def _snapshot(whereabouts: Whereabouts, room_id: RoomId, at: datetime, before: Iterable[Shown]) -> Shown:
    earlier = [line for shown in before for line in shown.lines]
    return Shown(None, [*earlier, f"-- {_told(at)} -- {whereabouts.inside(room_id)}"])


def _lines(entry: Entry, room_id: RoomId, *, is_new_server: bool) -> list[str]:
    """What the entry puts on the screen of a room: the time and the line; what no player saw begins with '--'."""
    lines = []
    if is_new_server:
        lines.append("-- the server was started anew --")
    if entry.dropped_before:
        lines.append(f"-- {entry.dropped_before} events are missing here --")
    is_heard = isinstance(entry.event.to, e.Everywhere) or entry.event.to == e.InRoom(room_id)
    if is_heard and (text := as_text(entry.event, PLAIN)) is not None:
        lines += text.split("\n")
    return [f"{_told(entry.moment)}  {line}" for line in lines]


# --- the command line ----------------------------------------------------------------------------------------------


def main(
    arguments: Sequence[str],
    out: TextIO | None = None,
    errors: TextIO | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Prints what was asked for to `out` (standard output), problems to `errors` (standard error).

    Returns 0, or 1 if the log cannot be read, or 2 if it does not know the room. Other bad options, and --help, end
    the process (codes 2 and 0), as argparse does. `sleep` waits so many seconds.
    """
    if out is None:
        out = sys.stdout
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(errors="backslashreplace")  # players write in more letters than some terminals have
    errors = sys.stderr if errors is None else errors
    parser = _argument_parser()
    options = parser.parse_args(list(arguments))
    if options.speed is not None and options.room is None:
        parser.error("--speed plays the screen of one room: name it with --room.")

    def complain(problem: str) -> None:
        errors.write(f"mudserver replay: {problem}\n")

    try:
        if options.room is None:
            for line in list_rooms(read_log(options.file, complain), options.at):
                out.write(line + "\n")
        else:
            title = room_title(read_log(options.file), options.room)
            if title is None:
                complain(f"--room {options.room}: nothing happened there; without --room you get a list of the rooms.")
                return EXIT_USAGE
            out.write(f"{title}\n")
            _play(room_screen(read_log(options.file, complain), options.room, options.at), options, out, sleep)
        out.flush()
    except BrokenPipeError:
        # Whoever read us has seen enough (`| head`). Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        complain(f"{options.file}: cannot be read: {error.strerror}.")
        return EXIT_CANNOT_READ
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _play(screen: Iterable[Shown], options: argparse.Namespace, out: TextIO, sleep: Callable[[float], None]) -> None:
    """Prints the screen, at once or as fast as --speed says, counting from --at or else from the first line."""
    played_to: datetime | None = options.at
    for shown in screen:
        if options.speed is not None and shown.moment is not None:
            out.flush()
            if played_to is not None:
                seconds = (shown.moment - played_to).total_seconds() / options.speed
                sleep(min(max(0.0, seconds), PAUSE_SECONDS_MAX))
            played_to = shown.moment
        out.writelines(f"{line}\n" for line in shown.lines)


def _argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mudserver replay",
        description="Shows what happened, from a file that `mudserver --event-log FILE` wrote. Times are UTC.",
        epilog="Without --room: the rooms in which something happened, and with --at also who stood there then.",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=_file, metavar="FILE", help="the log; FILE.1, FILE.2, … are read with it")
    parser.add_argument("--room", type=_room, metavar="ROOM_ID", help="show this room's screen")
    parser.add_argument(
        "--at",
        type=_moment,
        metavar="TIMESTAMP",
        help=f"show who stood there then, the {LINES_BEFORE} lines before, and what came after: 2026-11-23T08:31:00Z",
    )
    parser.add_argument("--speed", type=_speed, metavar="N", help="play it back N times as fast (default: at once)")
    return parser


def _file(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("it must be the name of a file.")
    return Path(text)


def _room(text: str) -> RoomId:
    if not is_token(text):
        raise argparse.ArgumentTypeError(f"{text!a} will not do; it must be a room id such as harbour-salt-quay.")
    return RoomId(text)


def _moment(text: str) -> datetime:
    """A time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        problem = f"{text!a} will not do; it must be a time such as 2026-11-23T08:31:00Z."
        raise argparse.ArgumentTypeError(problem) from None


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.001 <= speed <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!a} will not do; it must be a number from 0.001 to 1000000.")
    return speed
