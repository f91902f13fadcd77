"""Who should have heard what, who did, and how long it took: the book-keeping of `players`.

Every line that is said carries a number no other line has, so that each single delivery can be ticked off.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from benchmarks.swarm import Recording, is_close

MARKER: Final = re.compile(rb"~(\d{8})~")


def marker(number: int) -> str:
    """The fixed-width text that makes a said line unique."""
    return f"~{number:08d}~"


@dataclass(slots=True)
class Tally:
    """What became of the lines: counts of deliveries, and the seconds each took from socket to socket."""

    expected: int = 0
    delivered: int = 0
    """Deliveries that were expected and came, each counted once."""
    duplicated: int = 0
    """Deliveries that came once more."""
    strayed: int = 0
    """Deliveries to somebody in another room."""
    out_of_order: int = 0
    """Deliveries that came before an event that another player of the room had seen earlier."""
    unanswered: int = 0
    """Speakers who were not told 'You say: …' exactly once."""
    latencies: list[float] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return self.expected - self.delivered

    def faults(self) -> list[str]:
        """One sentence for each promise that was broken."""
        counts = {
            "lost": self.lost,
            "duplicated": self.duplicated,
            "delivered to another room": self.strayed,
            "out of order": self.out_of_order,
            "not answered to the speaker exactly once": self.unanswered,
        }
        return [f"{count:,} {what}" for what, count in counts.items() if count]


def tally_said(speakers: Sequence[int], room_of: Sequence[int], recording: Recording) -> Tally:
    """Compare the recording with what was said.

    `speakers[n]` is the client that said line n (sent at `recording.sent_at[n]`); `room_of[client]` is where it stood
    all the time. Everybody else in the speaker's room is to hear the line once, and the speaker to get one answer.
    """
    occupants: Mapping[int, int] = _count(room_of)
    tally = Tally(expected=sum(occupants[room_of[speaker]] - 1 for speaker in speakers))
    answers = [0] * len(speakers)
    heard: dict[int, dict[int, int]] = defaultdict(dict)
    """Client → line → how many lines it had heard before: its own view of the order."""
    for frame in recording.frames():
        if is_close(frame):
            continue
        for found in MARKER.findall(frame.payload):
            line = int(found)
            speaker = speakers[line]
            if frame.number == speaker:
                answers[line] += 1
            elif room_of[frame.number] != room_of[speaker]:
                tally.strayed += 1
            elif line in heard[frame.number]:
                tally.duplicated += 1
            else:
                heard[frame.number][line] = len(heard[frame.number])
                tally.delivered += 1
                tally.latencies.append(frame.at - recording.sent_at[line])
    tally.unanswered = sum(count != 1 for count in answers)
    tally.out_of_order = _count_disorder(heard, room_of)
    return tally


def _count(room_of: Sequence[int]) -> dict[int, int]:
    occupants: dict[int, int] = defaultdict(int)
    for room in room_of:
        occupants[room] += 1
    return occupants


def _count_disorder(heard: Mapping[int, Mapping[int, int]], room_of: Sequence[int]) -> int:
    """How often a client heard two lines the other way round than the first client of its room did.

    Lines that only one of them heard (each hears nothing of its own) say nothing about order.
    """
    first_in: dict[int, Mapping[int, int]] = {}
    disorder = 0
    for client, lines in heard.items():
        reference = first_in.setdefault(room_of[client], lines)
        places = [reference[line] for line in lines if line in reference]
        disorder += sum(after < before for before, after in pairwise(places))
    return disorder
