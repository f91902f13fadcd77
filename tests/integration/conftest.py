"""One server for each module of tests, an outsider on its bus, and the people of the tests."""

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from tests.integration.outsider import Outsider, listening_outsider
from tests.integration.players import Door, JsonPlayer, TextPlayer
from tests.integration.programs import Server, running_server

QUICK_TICKS = ("--tick-seconds", "0.3")

# Who has lost the line stands there for half a minute by default; no test has that long.
SOON_GIVEN_UP = """
[limits]
linkdead_seconds = 0.3
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with its embedded broker. Modules that need another kind override this."""
    directory = tmp_path_factory.mktemp("server")
    (directory / "config.toml").write_text(SOON_GIVEN_UP)
    with running_server(directory, *QUICK_TICKS, "--config", str(directory / "config.toml")) as server:
        yield server


@pytest.fixture(scope="module")
def outsider(server: Server) -> Iterator[Outsider]:
    with listening_outsider(server.nats_url) as outsider:
        yield outsider


@pytest.fixture
async def door(server: Server, nursery: trio.Nursery) -> AsyncIterator[Door]:
    door = Door(server.port, nursery)
    try:
        yield door
        await door.see_everybody_off()
    finally:
        door.close()


@pytest.fixture
async def alice(door: Door) -> TextPlayer:
    """A text player, in the hall first."""
    return await door.text("Alice")


@pytest.fixture
async def bob(door: Door, alice: TextPlayer) -> TextPlayer:
    """A text player; Alice has seen him come."""
    bob = await door.text("Bob")
    await alice.see("Bob enters the room.")
    return bob


@pytest.fixture
async def carol(door: Door, alice: TextPlayer, bob: TextPlayer) -> JsonPlayer:
    """A JSON player; Alice and Bob have seen her come."""
    carol = await door.json("Carol")
    for player in (alice, bob):
        await player.see("Carol enters the room.")
    return carol
