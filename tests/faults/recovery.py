"""How soon play is on NATS again after a fault, as players and an outsider on the bus see it."""

from collections import defaultdict
from collections.abc import Callable

from trio.to_thread import run_sync as in_thread

from tests.faults.talk import Talk
from tests.integration.outsider import Outsider

BACK_SECONDS_MAX = 3.0
"""How soon play is on NATS again once the broker is there."""

Note = Callable[[str, object], None]
"""Puts a figure into the test report (`--junit-xml`), for the table in the README."""


async def play_is_on_nats_again(talk: Talk, outsider: Outsider, back_at: float) -> float:
    """Waits until all were told so and a line said after that is on the bus. Returns when it was; checks how soon."""
    told_at = await talk.voices()
    assert told_at - back_at < BACK_SECONDS_MAX
    next_line = f"Alice says: {talk.seat('Alice').next_words}"
    since = sum(each.at < back_at for each in outsider.heard())
    heard = await in_thread(lambda: outsider.hear_event("chat_message", since, message=next_line))
    assert heard.at - back_at < BACK_SECONDS_MAX
    return heard.at


def note_recovery(note: Note, fault: str, told_after: float, recovered_after: float) -> None:
    """For the table: when players were told, and when play was on NATS again; seconds, each from the named moment."""
    note("fault", fault)
    note("told_after_seconds", round(told_after, 2))
    note("recovered_after_seconds", round(recovered_after, 2))


def check_nothing_was_heard_twice(outsider: Outsider, since: int) -> None:
    """On the bus, too, every line is there at most once, and each speaker's are in order."""
    lines: dict[str, list[str]] = defaultdict(list)
    for heard in outsider.heard(since):
        if heard.subject.endswith(".chat_message"):
            speaker, _, said = heard.content["data"]["message"].partition(" says: ")
            lines[speaker].append(said)
    for words in lines.values():
        numbers = [int(each) for each in words if each.isdecimal()]
        assert numbers == sorted(set(numbers))
