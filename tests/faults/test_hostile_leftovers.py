"""What the whole repertoire leaves behind: no task (counted in this process), no descriptor, no memory."""

import pytest
import trio
import trio.testing

from mudserver.broker.memory import MemoryHub
from mudserver.config import Config, Limits
from mudserver.server import Node
from mudserver.transport.listener import bind, serve_connections
from tests.faults.attacks import BREACHES, FAREWELLS, HEADS, OFFENCES
from tests.faults.raw import connect
from tests.faults.watch import Watch, until
from tests.faults.witnesses import NEVER_SEEN, Witnesses
from tests.worlds import small_map

LIMITS = Limits(
    handshake_seconds_max=1.0,
    sign_in_seconds_max=1.0,
    linkdead_seconds=0.1,
    close_seconds_max=0.2,
    room_linger_seconds=0.05,
)

RESIDENT_KIB_MAX = 6 * 1024
"""What the memory of a server may grow by during a siege of hundreds: arenas that a burst once filled."""


def tasks_alive() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def test_no_input_leaves_a_task_a_session_or_a_player_behind(caplog: pytest.LogCaptureFixture) -> None:
    """Fails without the cancel at the end of `open_websocket_nursery`, or with `lose_line` for strangers."""
    hub = MemoryHub()
    node = Node(Config(limits=LIMITS), small_map(), hub.connect(), "n1")
    listening = bind("127.0.0.1", 0)
    port = listening[0].getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        nursery.start_soon(serve_connections, listening, node.sessions.run_session, nursery, 100)
        await trio.testing.wait_all_tasks_blocked()
        before = tasks_alive()
        for head in HEADS:
            client = await connect(port)
            with client.sock:
                await client.send(head.sent)
        await until(lambda: tasks_alive() == before, "no task is left over")
        for offence in (*OFFENCES, *BREACHES, *FAREWELLS):
            for name in ("", "Mallory"):
                client = await connect(port)
                with client.sock:
                    await (client.sign_in(name) if name else client.shake_hands())
                    with trio.move_on_after(0.3):
                        await offence.do(client)
                        await client.read_to_end()
                await until(lambda: tasks_alive() == before, "no task is left over")
                assert not node.sessions.open, offence.name
                assert not node.world.players, offence.name
        nursery.cancel_scope.cancel()
    tracebacks = [record.getMessage() for record in caplog.records if record.exc_info]
    assert tracebacks == []


async def _lay_siege(watch: Watch) -> None:
    """Everything in the repertoire, one after the other, some reset at the end and some read out."""
    for number, head in enumerate(HEADS):
        client = await connect(watch.port)
        with client.sock:
            await client.send(head.sent)
            if number % 2:
                client.reset()
    for number, offence in enumerate((*OFFENCES, *BREACHES)):
        client = await connect(watch.port)
        with client.sock:
            await client.shake_hands()
            with trio.move_on_after(0.5):
                await offence.do(client)
                if number % 2:
                    client.reset()
                else:
                    await client.read_to_end()
        await until(lambda: watch.metric("mud_connections") <= 2, "only the witnesses are left")


async def test_a_siege_leaves_no_descriptor_no_connection_and_no_memory(watch: Watch, witnesses: Witnesses) -> None:
    """Fails without the cancel at the end of `open_websocket_nursery`: connections whose reader waits for ever."""
    async with witnesses.talking():
        await _lay_siege(watch)  # caches fill, arenas grow
        before = watch.resident_kib()
        for _ in range(2):
            await _lay_siege(watch)
        grown = watch.resident_kib() - before
    await witnesses.saw(NEVER_SEEN)
    assert grown < RESIDENT_KIB_MAX
