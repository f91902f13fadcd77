"""Clients that send and do not read: they fill their own outbox and nobody else's."""

import pytest

from tests.faults.conftest import SMALL_LIMITS
from tests.faults.raw import PING, connect, frame
from tests.faults.watch import Watch
from tests.faults.witnesses import CAME_AND_LOST_THE_LINE, OFFENDER, Witnesses


@pytest.fixture(scope="module")
def limits() -> str:
    return f"""{SMALL_LIMITS}
message_bytes_max = 8192
lines_per_second = 1000000.0
lines_burst = 1000000
received_bytes_per_second = 100000000
received_bytes_burst = 100000000
reads_per_second = 100000.0
reads_burst = 100000
pongs_per_second = 1000000.0
pongs_burst = 1000000
outbox_frames_max = 100
"""


@pytest.mark.parametrize(
    ("sent", "times", "why"),
    [
        pytest.param(frame((b"look ledger".ljust(60) + b"\n") * 100), 40, "slow", id="answers"),
        pytest.param(frame(b"p" * 125, PING) * 500, 100, "", id="pongs"),
    ],
)
async def test_a_player_who_asks_and_never_reads_is_dropped_and_the_room_talks_on(
    sent: bytes, times: int, why: str, watch: Watch, witnesses: Witnesses
) -> None:
    """Answers: fails with neither the limit in `Connection.offer` nor the deadline of `run_sender`; the keepalive comes
    last, and would not know why. What is asked for is long, because a pile of lines is answered slowly.
    Pongs: fails without `run_keepalive`, if nothing else is said in the room.
    """
    client = await connect(watch.port, receive_buffer_bytes=4096)
    with client.sock:
        async with witnesses.talking():
            await client.sign_in(OFFENDER)
            for _ in range(times):
                await client.send_what_fits(sent)
            await watch.settles_players(2)
    await witnesses.saw(CAME_AND_LOST_THE_LINE)
    line = await witnesses.one_log_line()
    assert why in line
