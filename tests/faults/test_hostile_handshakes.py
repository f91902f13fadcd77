"""Strangers whose first bytes are no handshake, or an odd one: answered at once, and nobody else hears of it.

Seen to fail with the check for ASCII headers taken out of `transport.http` (answered with nothing), with the check of
the origin taken out of `Sessions._check_head` (let in), and with the last clause of `guard_connection` taken out (the
server ends).
"""

import pytest
import trio

from tests.faults.attacks import HEADS, Head
from tests.faults.raw import close_frame, connect
from tests.faults.watch import Watch
from tests.faults.witnesses import NEVER_SEEN, Witnesses


@pytest.mark.parametrize("head", HEADS, ids=[each.name for each in HEADS])
async def test_a_bad_request_head_is_answered_at_once_and_costs_nobody_anything(
    head: Head, watch: Watch, witnesses: Witnesses
) -> None:
    client = await connect(watch.port)
    with client.sock:
        async with witnesses.talking():
            await client.send(head.sent)
            before = trio.current_time()
            if head.told == "101":
                await client.read_until(b"By what name")
                await client.send(close_frame())
            await client.read_to_end()
            assert trio.current_time() - before < 0.8, "the answer must not wait for the deadline of the handshake"
            assert client.received.split(b" ", 2)[1:2] == [head.told.encode()]
    await witnesses.saw(NEVER_SEEN)
    await witnesses.one_log_line()


async def test_a_bad_request_head_and_then_a_reset_costs_nobody_anything(watch: Watch, witnesses: Witnesses) -> None:
    """Fails without the translation of broken streams in `accept_websocket`: a traceback for each."""
    async with witnesses.talking():
        for head in HEADS:
            client = await connect(watch.port)
            with client.sock:
                await client.send(head.sent)
                client.reset()
    await witnesses.saw(NEVER_SEEN)
    lines = witnesses.new_log_lines()
    assert len(lines) <= len(HEADS), lines
    assert all(line.isprintable() and line.isascii() for line in lines)
