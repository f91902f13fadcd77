"""Area files: what is right is read, what is wrong is named, all of it at once."""

from pathlib import Path

import pytest

from mudserver.errors import WorldError
from mudserver.game.areas import load_map
from mudserver.game.ids import Direction

AREA = """\
[area]
id = "town"
name = "The Town"
starting_room = "square"
"""
SQUARE = """\
[[room]]
id = "square"
name = "The Square"
description = "A square."
"""

DEN = SQUARE.replace('"square"', '"den"')


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / f"{name}.toml").write_text(text, encoding="utf-8")
    return directory


def problems(directory: Path) -> list[str]:
    with pytest.raises(WorldError) as caught:
        load_map(directory)
    return caught.value.problems


def test_everything_a_designer_writes_arrives(tmp_path: Path) -> None:
    town = """\
[area]
id = "town"
name = "The Town"
description = "A town\\nby the sea."
author = "Ann"
starting_room = "square"

[[room]]
id = "square"
name = "The Square"
description = \"\"\"
First line
and its end.

Second paragraph.
\"\"\"
[room.exits]
north = "hill"
[room.details]
"Old Well" = "It is dry."
"""
    hill = """\
[area]
id = "hill"
name = "The Hill"
[[room]]
id = "hill"
name = "The Hilltop"
description = "Wind."
exits = { south = "square" }
"""
    map_ = load_map(write(tmp_path, town=town, hill=hill))
    assert map_.starting_room == "square"
    assert [(area.id, area.name, area.description, area.author) for area in map_.areas.values()] == [
        ("hill", "The Hill", "", ""),
        ("town", "The Town", "A town by the sea.", "Ann"),
    ]
    square, hilltop = (map_.rooms[room_id] for room_id in sorted(map_.rooms, reverse=True))
    assert square.description == "First line and its end.\nSecond paragraph."
    assert (square.area, square.exits, square.details) == (
        "The Town",
        {Direction.NORTH: "hill"},
        {"old well": "It is dry."},
    )
    assert hilltop.exits == {Direction.SOUTH: "square"}


FAULTS = {
    "dangling exit": (AREA + SQUARE + '[room.exits]\nnorth = "nowhere"\n', ["town.toml:10", '"square"', '"nowhere"']),
    "no direction": (AREA + SQUARE + '[room.exits]\nnorht = "square"\n', ["town.toml:10", '"norht" is no direction']),
    "duplicate id": (AREA + SQUARE + SQUARE, ["town.toml", '"square"', "taken at town.toml:6"]),
    "bad token": (
        AREA + SQUARE.replace('"square"', '"the square"') + SQUARE,
        ["town.toml:6", '"the square"', "letters"],
    ),
    "a star as id": (AREA + SQUARE + SQUARE.replace('"square"', '"*"'), ["town.toml:10", 'room "*"', "letters"]),
    "bad area id": (AREA.replace('"town"', '"the.town"') + SQUARE, ["town.toml", '"the.town"', "letters"]),
    "missing description": (
        AREA + SQUARE + DEN.replace('description = "A square."\n', ""),
        ["town.toml:10", '"den"', "description is missing; add it"],
    ),
    "missing id": (AREA + SQUARE + '[[room]]\nname = "x"\ndescription = "y"\n', ["room number 2", "id is missing"]),
    "missing area name": (AREA.replace('name = "The Town"\n', "") + SQUARE, ["[area]", "name is missing"]),
    "missing area": (SQUARE, ["town.toml", "[area] is missing"]),
    "unknown key in a room": (
        AREA + SQUARE + DEN + 'colour = "red"\n',
        ["town.toml:10", '"den"', 'unknown key "colour"'],
    ),
    "unknown key in the area": (AREA + 'mood = "grim"\n' + SQUARE, ["town.toml", "[area]", 'unknown key "mood"']),
    "unknown table": (AREA + SQUARE + "[npc]\nx = 1\n", ["town.toml", 'unknown table "npc"']),
    "wrong type": (AREA + SQUARE + DEN.replace('"The Square"', "4"), ['room "den"', "name must be a text in quotes"]),
    "empty name": (AREA + SQUARE.replace('"The Square"', '" "'), ["town.toml:7", '"square"', "name is empty"]),
    "empty description": (AREA + SQUARE.replace('"A square."', '""'), ['"square"', "description is empty"]),
    "empty detail": (AREA + SQUARE + '[room.details]\nwell = ""\n', ["town.toml:10", '"well"']),
    "empty area name": (AREA.replace('"The Town"', '""') + SQUARE, ["town.toml", "name is empty"]),
    "no TOML": (AREA + SQUARE + "what is this", ["town.toml", "no valid TOML", "line 9"]),
    "start nowhere": (AREA.replace('"square"', '"circle"') + SQUARE, ["town.toml", '"circle"', "no room"]),
    "no start": (AREA.replace('starting_room = "square"\n', "") + SQUARE, ["starting_room"]),
}


@pytest.mark.parametrize(("text", "fragments"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_file_place_and_what_to_do(tmp_path: Path, text: str, fragments: list[str]) -> None:
    (problem,) = problems(write(tmp_path, town=text))
    for fragment in fragments:
        assert fragment in problem


def test_room_in_one_pair_of_brackets_is_explained(tmp_path: Path) -> None:
    found = problems(write(tmp_path, town=AREA + SQUARE.replace("[[room]]", "[room]")))
    assert found[0] == "town.toml: write [[room]] with two brackets, once for each room."


def test_a_file_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "town.toml").write_bytes(AREA.encode() + b'\n# \xff"')
    (problem,) = problems(tmp_path)
    assert "town.toml: cannot be read" in problem


def test_one_id_in_two_files_names_both(tmp_path: Path) -> None:
    other = AREA.replace('"town"', '"zoo"').replace('starting_room = "square"\n', "") + SQUARE
    (problem,) = problems(write(tmp_path, town=AREA + SQUARE, zoo=other))
    assert "zoo.toml:5" in problem
    assert "town.toml:6" in problem


def test_two_files_with_one_area_id_are_told_apart(tmp_path: Path) -> None:
    other = '[area]\nid = "town"\nname = "Other"\n'
    (problem,) = problems(write(tmp_path, town=AREA + SQUARE, zoo=other))
    assert 'zoo.toml: the area id "town" is taken' in problem


def test_two_starting_rooms_are_one_too_many(tmp_path: Path) -> None:
    other = '[area]\nid = "zoo"\nname = "Zoo"\nstarting_room = "cage"\n' + SQUARE.replace('"square"', '"cage"')
    (problem,) = problems(write(tmp_path, town=AREA + SQUARE, zoo=other))
    assert "town.toml, zoo.toml" in problem


def test_a_directory_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    assert "no such directory" in problems(tmp_path / "nowhere")[0]
    assert "holds no area file" in problems(tmp_path)[0]


def test_all_problems_of_all_files_come_in_one_go(tmp_path: Path) -> None:
    town = AREA + SQUARE + '[room.exits]\nnorth = "nowhere"\nup = "sky"\nsideways = "square"\n'
    zoo = '[area]\nid = "z o o"\nname = "Zoo"\n' + SQUARE.replace('"square"', '"ca ge"')
    zoo += DEN.replace('"A square."', '""')
    found = problems(write(tmp_path, town=town, zoo=zoo, broken="x"))
    wanted = ['"nowhere"', '"sky"', '"sideways"', '"z o o"', '"ca ge"', "description is empty", "broken.toml"]
    for fragment in wanted:
        assert len([problem for problem in found if fragment in problem]) == 1
    assert len(found) == len(wanted)


def test_two_faults_of_shape_in_one_room_are_both_named(tmp_path: Path) -> None:
    room = SQUARE.replace('name = "The Square"\n', "") + 'colour = "red"\n'
    found = "\n".join(problems(write(tmp_path, town=AREA + room)))
    assert "name is missing" in found
    assert '"colour"' in found


def test_a_room_with_a_fault_is_not_also_called_missing(tmp_path: Path) -> None:
    hill = SQUARE.replace('"square"', '"hill"') + 'colour = "red"\n'
    found = problems(write(tmp_path, town=AREA + SQUARE + '[room.exits]\nnorth = "hill"\n' + hill))
    assert len(found) == 1, found
    assert '"colour"' in found[0]


def test_two_faults_of_one_area_are_both_named(tmp_path: Path) -> None:
    found = "\n".join(
        problems(write(tmp_path, town=AREA.replace('"town"', '"t o"').replace('"The Town"', '""') + SQUARE))
    )
    assert '"t o"' in found
    assert "name is empty" in found
