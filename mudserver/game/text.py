"""What players may put on each other's screens: cleaning of lines and the rules for names."""

import re
from collections.abc import Iterator
from unicodedata import category

# Letters of one alphabet only: look-alikes from others would let one player pass for another.
_NAME = re.compile(r"\A[A-Za-z][A-Za-z'-]{1,15}\Z")

RESERVED_NAMES = frozenset(
    "admin administrator all anybody anyone console everybody everyone god guest help me moderator mud mudserver "
    "new nobody none operator quit resume root self server somebody someone staff system wizard you yourself".split()
)


def clean(line: str) -> str:
    """The line without anything that steers a terminal, hides, or is no character at all.

    Drops the Unicode categories Cc, Cf, Cs, Co, Cn, Zl and Zp (C1 controls are eight-bit escapes; bidi and zero-width
    characters hide text); other spaces become a plain one.
    """
    if line.isprintable():
        return line.strip()
    return "".join(c if c.isprintable() else " " if c == "\t" or category(c) == "Zs" else "" for c in line).strip()


def split_lines(text: str) -> Iterator[str]:
    """The cleaned lines of one message from a client, each cleaned as it is asked for.

    Only '\\n' ends a line: `str.splitlines` knows too many others. A newline at the very end closes the last line and
    does not open an empty one.
    """
    return (clean(line.removesuffix("\r")) for line in text.removesuffix("\n").split("\n"))


def name_problem(name: str) -> str | None:
    """Why nobody may be called so, as a sentence for the player; None if the name will do."""
    if not _NAME.match(name):
        return "A name has 2 to 16 letters (A to Z, and ' or - inside), and begins with a letter."
    if name.casefold() in RESERVED_NAMES:
        return "That name is reserved. Please choose another."
    return None
