"""Area files: from TOML on disk to a checked Map, with every fault named at once.

The format is described in README.md under "How to write an area". Nothing is loaded unless everything is right.
"""

import re
import tomllib
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from mudserver.errors import WorldError
from mudserver.game.ids import AreaId, Direction, RoomId, is_token
from mudserver.game.text import clean
from mudserver.game.world import Area, Map, Room

SHIPPED_WORLD = Path(__file__).parent / "worlds"

AREA_FILE_BYTES_MAX = 4 * 1024 * 1024
"""One area file; ten thousand rooms fit."""


_UNKNOWN = "?"
"""Stands for a text that is missing or no text, once that has been reported."""


class _AreaTable(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    name: str
    description: str = ""
    author: str = ""
    starting_room: str | None = None


class _RoomTable(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    name: str
    description: str
    exits: dict[str, str] = {}
    details: dict[str, str] = {}


@dataclass(slots=True)
class _AreaFile:
    """One file as read: its tables with the right shape, and where in the file each room is."""

    path: Path
    text: str = ""
    area: _AreaTable | None = None
    rooms: dict[int, _RoomTable] = field(default_factory=dict)
    """By their number in the file, from 1."""

    def place(self, number: int, key: str = "id") -> str:
        """'harbour.toml:12: room "quay"': where to look for a room, or for a key in it."""
        room_id = self.rooms[number].id if number in self.rooms else _UNKNOWN
        name = f'room "{room_id}"' if room_id != _UNKNOWN else f"room number {number}"
        return f"{self.path.name}:{self._line(number, key)}: {name}"

    def _line(self, number: int, key: str) -> int:
        """The line of the key, as far as the file is laid out as usual; else that of the room."""
        lines = [line.strip() for line in self.text.splitlines()]
        heads = [line for line, text in enumerate(lines, 1) if re.match(r"\[\[\s*room\s*\]\]", text)]
        if number > len(heads):
            return 1  # the rooms are written in some other way that TOML allows
        begin = heads[number - 1]
        end = heads[number] - 1 if number < len(heads) else len(lines)
        assigned = re.compile(rf'"?{re.escape(key)}"?\s*=')
        return next((n for n in range(begin, end + 1) if assigned.match(lines[n - 1])), begin)


def load_map(directory: Path) -> Map:
    """Reads every `*.toml` in a directory.

    Raises WorldError with one sentence for each fault found: file, line if it can be told, what is wrong, what to do.
    """
    problems: list[str] = []
    paths = sorted(directory.glob("*.toml")) if directory.is_dir() else []
    if not directory.is_dir():
        problems.append(f"{directory}: there is no such directory; name one that holds area files (*.toml).")
    elif not paths:
        problems.append(f"{directory}: it holds no area file; put at least one *.toml there.")
    files = [_read(path, problems) for path in paths]
    map_ = _joined(files, problems)
    if problems:
        raise WorldError(problems)
    assert map_ is not None
    return map_


def _read(path: Path, problems: list[str]) -> _AreaFile:
    file = _AreaFile(path)
    try:
        if path.stat().st_size > AREA_FILE_BYTES_MAX:
            problems.append(f"{path.name}: over {AREA_FILE_BYTES_MAX} bytes; split it into several areas.")
            return file
        file.text = path.read_text(encoding="utf-8")
        document = tomllib.loads(file.text)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path.name}: cannot be read: {error}.")
        return file
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.append(f"{path.name}: is no valid TOML: {error}.")
        return file
    for key in sorted(set(document) - {"area", "room"}):
        problems.append(f'{path.name}: unknown table "{key}"; an area file has one [area] and any number of [[room]].')
    if "area" not in document:
        problems.append(f"{path.name}: the table [area] is missing; it needs at least id and name.")
    else:
        file.area, faults = _table(document["area"], _AreaTable)
        problems += [f"{path.name}: [area]: {fault}" for fault in faults]
    rows = document.get("room", [])
    if not isinstance(rows, list):
        problems.append(f"{path.name}: write [[room]] with two brackets, once for each room.")
        rows = []
    for number, row in enumerate(rows, 1):
        room, faults = _table(row, _RoomTable)
        if room is not None:
            file.rooms[number] = room
        # A place is looked up in the text of the file, which is dear: only for what is wrong.
        problems += [f"{file.place(number)}: {fault}" for fault in faults]
    return file


_Table = TypeVar("_Table", _AreaTable, _RoomTable)


def _table(value: Any, table_type: type[_Table]) -> tuple[_Table | None, list[str]]:
    """The table with all that is wrong in its shape; faulty values are filled in, so that the checks can go on."""
    if not isinstance(value, dict):
        return None, ["this must be a table."]
    wanted = {each.name: each for each in msgspec.structs.fields(table_type)}
    faults = [f'unknown key "{key}"; check the spelling or take it out.' for key in value if key not in wanted]
    filled: dict[str, Any] = {}
    for name, column in wanted.items():
        if name not in value:
            if column.required:
                faults.append(f"{name} is missing; add it.")
                filled[name] = _UNKNOWN
            continue
        try:
            filled[name] = msgspec.convert(value[name], column.type)
        except msgspec.ValidationError as error:
            faults.append(_plain(name, error))
            if column.required:
                filled[name] = _UNKNOWN
    return table_type(**filled), faults


def _plain(name: str, error: msgspec.ValidationError) -> str:
    """msgspec's message in a designer's words."""
    match = re.match(r"Expected `(.*?)`, got `(\w+)`(?: - at `\$(\[\.\.\.\])?)?", str(error))
    if match is None:
        return f"{name}: {error}."
    expected = match[1].partition(" | ")[0]
    subject = f"every value in {name}" if match[3] else name
    return f"{subject} must be a {_TYPES.get(expected, expected)}, not a {_TYPES.get(match[2], match[2])}."


_TYPES = {"str": "text in quotes", "object": "table", "int": "number", "float": "number", "array": "list"}


def _joined(files: list[_AreaFile], problems: list[str]) -> Map | None:
    areas: dict[AreaId, Area] = {}
    seen: dict[str, tuple[_AreaFile, int]] = {}
    starting: list[tuple[_AreaFile, str]] = []
    for file in files:
        if file.area is None:
            continue
        table = file.area
        if not is_token(table.id):
            problems.append(f'{file.path.name}: area id "{table.id}" must be of letters, digits, "_" and "-" only.')
        elif AreaId(table.id) in areas:
            problems.append(f'{file.path.name}: the area id "{table.id}" is taken by another file; choose another.')
        if not table.name.strip():
            problems.append(f"{file.path.name}: the area's name is empty; give it one.")
        area_id = AreaId(table.id)
        areas[area_id] = Area(area_id, clean(table.name), _paragraphs(table.description), table.author)
        if table.starting_room is not None:
            starting.append((file, table.starting_room))
    rooms: dict[RoomId, Room] = {}
    for file in files:
        for number, row in file.rooms.items():
            if row.id == _UNKNOWN:
                continue
            if not is_token(row.id):
                problems.append(f'{file.place(number)}: the id may have letters, digits, "_" and "-", 64 at most.')
            elif row.id in seen:
                first_file, first = seen[row.id]
                taken = first_file.place(first)
                problems.append(f"{file.place(number)}: this id is taken at {taken}; choose another.")
            else:
                seen[row.id] = (file, number)
    for file in files:
        for number in file.rooms:
            room = _room(file, number, seen.keys(), problems)
            rooms.setdefault(room.id, room)
    if not files or any(file.area is None for file in files):
        return None
    if len(starting) != 1:
        names = ", ".join(file.path.name for file, _ in starting) or "none does"
        problems.append(f'exactly one [area] must say starting_room = "room-id"; now: {names}.')
        return None
    file, start = starting[0]
    if start not in rooms:
        problems.append(f'{file.path.name}: starting_room "{start}" is no room of any file; name one that exists.')
    return Map(MappingProxyType(areas), MappingProxyType(rooms), RoomId(start))


_WAYS = frozenset(way.value for way in Direction)


def _room(file: _AreaFile, number: int, known: Set[str], problems: list[str]) -> Room:
    row = file.rooms[number]
    exits: dict[Direction, RoomId] = {}
    for way, target in row.exits.items():
        if way in _WAYS and target in known:
            exits[Direction(way)] = RoomId(target)
            continue
        place = file.place(number, way)
        if way not in _WAYS:
            problems.append(f'{place}: "{way}" is no direction; use one of {", ".join(Direction)}.')
        else:
            problems.append(f'{place}: {way} leads to "{target}", which is no room of any file; correct the id.')
    for key in ("name", "description"):
        if not getattr(row, key).strip():
            problems.append(f"{file.place(number, key)}: {key} is empty; write one.")
    for word, text in row.details.items():
        if not word.strip() or not text.strip():
            problems.append(f'{file.place(number, word)}: the detail "{word}" needs a name and a text.')
    details = {clean(word).casefold(): _paragraphs(text) for word, text in row.details.items()}
    return Room(
        id=RoomId(row.id),
        name=clean(row.name),
        description=_paragraphs(row.description),
        area=clean(file.area.name) if file.area else "",
        exits=MappingProxyType(exits),
        details=MappingProxyType(details),
    )


def _paragraphs(text: str) -> str:
    """The text with lines joined into paragraphs, which an empty line separates: screens differ in width."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n".join(" ".join(clean(line) for line in paragraph.splitlines()) for paragraph in paragraphs)
