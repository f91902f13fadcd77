"""A server with small limits for each module of tests, two witnesses in it, and a way to look at the process."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.watch import Watch, free_port
from tests.faults.witnesses import Witnesses, open_witnesses
from tests.integration.programs import running_server

# Waits that a test can wait for. What a client may send is left as it is by default.
SMALL_LIMITS = """
[limits]
handshake_seconds_max = 1.0
sign_in_seconds_max = 1.5
linkdead_seconds = 0.1
close_seconds_max = 0.3
ping_after_seconds = 1.0
pong_seconds_max = 1.0
write_seconds_max = 1.0
"""


@pytest.fixture(scope="module")
def limits() -> str:
    """The TOML that the server gets. Modules that need other limits override this."""
    return SMALL_LIMITS


@pytest.fixture(scope="module")
def watch(limits: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    directory: Path = tmp_path_factory.mktemp("faults")
    (directory / "config.toml").write_text(limits)
    admin_port = free_port()
    options = ("--config", str(directory / "config.toml"), "--admin-port", str(admin_port), "--tick-seconds", "3600")
    with running_server(directory, *options) as server:
        yield Watch(server, admin_port)


@pytest.fixture
async def witnesses(watch: Watch) -> AsyncIterator[Witnesses]:
    async with open_witnesses(watch) as witnesses:
        yield witnesses
