"""One client stops reading: its connection ends, the room's talk goes on, and the others see it leave."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.players import Envelope, JsonPlayer, TextPlayer
from tests.integration.programs import Server, running_server

# More talk at once than anybody types, and a small outbox, so that it fills in a moment.
LIMITS = """
[limits]
message_bytes_max = 65536
lines_per_second = 100000.0
lines_burst = 100000
received_bytes_per_second = 100000000
received_bytes_burst = 100000000
reads_per_second = 100000.0
reads_burst = 100000
outbox_frames_max = 100
linkdead_seconds = 0.2
write_seconds_max = 3600.0
ping_after_seconds = 3600.0
close_seconds_max = 0.5
"""

LINES_AT_ONCE = 40
WORDS = "x" * 900
ROUNDS_MAX = 300
"""Ten megabytes of talk: more than the kernel keeps for a socket that nobody reads; about four suffice."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("slow")
    config = directory / "config.toml"
    config.write_text(LIMITS)
    with running_server(directory, "--config", str(config)) as server:
        yield server


async def test_a_client_that_stops_reading_is_closed_while_the_room_goes_on(
    alice: TextPlayer, bob: TextPlayer, carol: JsonPlayer
) -> None:
    heard: list[Envelope] = []
    rounds = 0
    while not any(each["event_type"] == "player_left" for each in heard):
        assert rounds < ROUNDS_MAX, "Bob reads nothing and is still there"
        rounds += 1
        await alice.type(*(f"say {rounds}.{n} {WORDS}" for n in range(LINES_AT_ONCE)), f"say {rounds} done")
        # In step with those who do read, so that only the one who does not is ever behind.
        await alice.see(f"{rounds} done")
        heard += await carol.hear("chat_message", message=f"Alice says: {rounds} done")

    talk = [each["data"]["message"].split()[2] for each in heard if each["event_type"] == "chat_message"]
    wanted = [[*(f"{number}.{n}" for n in range(LINES_AT_ONCE)), f"{number}"] for number in range(1, rounds + 1)]
    assert talk == [each for round_ in wanted for each in round_]
    assert [each["data"]["player_name"] for each in heard if each["event_type"] == "player_left"] == ["Bob"]
    # What he did not read is lost to him, and the close frame with it unless he reads just in time.
    assert (await bob.read_to_close())[0] in (1006, 3008)
