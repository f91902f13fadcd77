"""From a line a player typed to a command: abbreviations, the one-character habits, nothing of what a verb does."""

from dataclasses import dataclass

from mudserver.game.ids import SHORT_DIRECTIONS, Direction


@dataclass(frozen=True, slots=True)
class Command:
    """A parsed wish: the verb's full name (None if there is no such verb), the rest of the line, and what was typed."""

    verb: str | None
    rest: str = ""
    typed: str = ""


VERB_NAMES = (
    # An abbreviation means the first verb here that begins with it, so the order is by how often players want one.
    *(direction.value for direction in Direction if direction not in (Direction.IN, Direction.OUT)),
    "look",
    "say",
    "go",
    "exits",
    "emote",
    "tell",
    "reply",
    "shout",
    "who",
    "time",
    "ticks",
    "color",
    "commands",
    "help",
    "quit",
    "in",
    "out",
)

# Words players bring along from other games, and short forms that no prefix rule would give.
_ALIASES = {
    **{short: direction.value for short, direction in SHORT_DIRECTIONS.items()},
    "l": "look",
    "ex": "exits",
    "examine": "look",
    "read": "look",
    "me": "emote",
    "whisper": "tell",
    "colour": "color",
    "enter": "in",
    "leave": "out",
    "exit": "out",
    "?": "help",
}
_CHARACTERS = {"'": "say", '"': "say", ":": "emote"}


def verb_called(word: str) -> str | None:
    """The verb that `word` means: its name, an alias, or any beginning of a name; None if there is none."""
    word = word.lower()
    if word in VERB_NAMES:
        return word
    if word in _ALIASES:
        return _ALIASES[word]
    if not word:
        return None
    return next((name for name in VERB_NAMES if name.startswith(word)), None)


def parse_command(line: str) -> Command:
    """Reads one cleaned line. An empty line gives a Command with verb None and nothing typed."""
    if line and line[0] in _CHARACTERS:
        return Command(_CHARACTERS[line[0]], line[1:].strip(), line[0])
    word, _, rest = line.partition(" ")
    return Command(verb_called(word), rest.strip(), word)
