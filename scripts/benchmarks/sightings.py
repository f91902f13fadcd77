"""Who should have seen whom come and go, and who did: the book-keeping of `walk`.

Moves carry no number, and which walkers share a room at any moment is for the server to say. So each room has a witness
who never moves and must see every departure and arrival exactly once, in the order in which each walker makes them.
Walkers are held to what any one of them can know: their own answers, no event of a room they are not in, and nobody
arriving (or leaving) twice running while they look on.
"""

import json
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.frames import TEXT
from benchmarks.swarm import Link, Recording


@dataclass(frozen=True, slots=True)
class Move:
    """One walker's move between two rooms, named by their ids."""

    walker: Link
    origin: str
    target: str


@dataclass(slots=True)
class Sightings:
    """What was seen of the moves. Latencies in seconds, from the walker's socket to the witness's."""

    expected: int = 0
    seen: int = 0
    duplicated: int = 0
    """Seen by a witness once more than it happened."""
    late: int = 0
    """Shown to a walker just after it had left that room: not a fault, its departure is an event like any other."""
    strayed: int = 0
    """Shown to a walker who was in another room, and had not just come from there."""
    implausible: int = 0
    """A walker saw somebody arrive, or leave, twice running: one too many or one too few."""
    unanswered: int = 0
    """Moves after which the walker was not shown the room it went to."""
    latencies: list[float] = field(default_factory=list)
    answer_latencies: list[float] = field(default_factory=list)
    """From a walker's move to its own view of the new room."""
    deliveries: int = 0
    """Frames received by everybody, of any kind."""

    @property
    def lost(self) -> int:
        return self.expected - self.seen

    def faults(self) -> list[str]:
        """One sentence for each promise that was broken."""
        counts = {
            "departures or arrivals lost": self.lost,
            "departures or arrivals duplicated": self.duplicated,
            "events shown to walkers in another room": self.strayed,
            "implausible sights": self.implausible,
            "moves without the right view of the new room": self.unanswered,
        }
        return [f"{count:,} {what}" for what, count in counts.items() if count]


def tally_moves(moves: Sequence[Move], stands_in: dict[int, str], recording: Recording) -> Sightings:
    """Compare the recording with what was walked.

    `moves[n]` was sent at `recording.sent_at[n]`; `stands_in` gives every client's room id at the
    start. Clients that appear in no move are the witnesses.
    """
    tally = Sightings(expected=2 * len(moves))
    due: dict[tuple[str, str, str], deque[float]] = defaultdict(deque)
    """(event type, room, walker's name) → when each such move was sent."""
    own: dict[int, deque[tuple[str, float]]] = defaultdict(deque)
    """Walker → (room it went to, when sent) of each of its moves."""
    for move, sent_at in zip(moves, recording.sent_at, strict=True):
        due["player_left", move.origin, move.walker.name].append(sent_at)
        due["player_entered", move.target, move.walker.name].append(sent_at)
        own[move.walker.number].append((move.target, sent_at))
    here = dict(stands_in)
    before = dict(stands_in)
    last_seen: dict[int, dict[str, str]] = defaultdict(dict)
    """Walker → player's name → the last event seen of that player in this room."""
    for frame in recording.frames():
        if frame.opcode != TEXT:
            continue
        tally.deliveries += 1
        event: dict[str, Any] = json.loads(frame.payload)
        kind = event["event_type"]
        if kind == "room_update" and own[frame.number]:
            target, sent_at = own[frame.number].popleft()
            tally.unanswered += event["data"]["room"]["id"] != target
            tally.answer_latencies.append(frame.at - sent_at)
            before[frame.number], here[frame.number] = here[frame.number], target
            last_seen[frame.number].clear()
        elif kind in ("player_entered", "player_left"):
            room, name = event["data"]["room_id"], event["data"]["player_name"]
            if frame.number in own and room != here[frame.number]:
                tally.late += room == before[frame.number]
                tally.strayed += room != before[frame.number]
            elif frame.number in own:
                tally.implausible += last_seen[frame.number].get(name) == kind
                last_seen[frame.number][name] = kind
            elif waiting := due[kind, room, name]:
                tally.seen += 1
                tally.latencies.append(frame.at - waiting.popleft())
            else:
                tally.duplicated += 1
    tally.unanswered += sum(map(len, own.values()))
    return tally
