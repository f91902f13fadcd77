"""Too many at once: the cap on connections, and the caps on addresses behind a proxy."""

from collections.abc import Iterator

import pytest
import trio

from tests.faults.conftest import SMALL_LIMITS
from tests.faults.raw import CLOSE, RawClient, connect, frame, request
from tests.faults.watch import Watch, free_port, until
from tests.faults.witnesses import NEVER_SEEN, Witnesses
from tests.integration.programs import running_server

CONNECTIONS_MAX = 6
PER_ADDRESS_MAX = 2


@pytest.fixture(scope="module")
def limits() -> str:
    return f"""{SMALL_LIMITS}
connections_max = {CONNECTIONS_MAX}
connections_per_address_max = {PER_ADDRESS_MAX}
arrivals_per_address_per_second = 0.001
arrivals_per_address_burst = {2 * PER_ADDRESS_MAX}
"""


@pytest.fixture(scope="module")
def proxied_watch(limits: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """A server that believes what this machine says of others."""
    directory = tmp_path_factory.mktemp("proxied")
    (directory / "config.toml").write_text(limits)
    admin_port = free_port()
    options = ("--config", str(directory / "config.toml"), "--admin-port", str(admin_port))
    with running_server(directory, *options, "--proxies", "127.0.0.0/8") as server:
        yield Watch(server, admin_port)


async def test_one_more_than_the_cap_gets_a_503_and_those_inside_hear_nothing(
    watch: Watch, witnesses: Witnesses
) -> None:
    """Fails without the count of `child_tasks` in `transport.listener._accept`."""
    inside: list[RawClient] = []
    async with witnesses.talking():
        for _ in range(CONNECTIONS_MAX - 2):
            client = await connect(watch.port)
            inside.append(client)
            await client.shake_hands()
        for _ in range(20):
            outside = await connect(watch.port)
            with outside.sock:
                await outside.send(request(further=b"X-Long: " + b"x" * 6000 + b"\r\n"))
                await trio.sleep(0.01)
                assert await outside.read_to_end() == "503"
                assert outside.received.endswith(b"The server is full; come back a little later.\n")
        for client in inside:
            await client.send(frame(b"", CLOSE))
            await client.read_to_end()
            client.sock.close()
        await until(lambda: watch.metric("mud_connections") == 2, "only the witnesses are left")
        late = await connect(watch.port)
        with late.sock:
            await late.shake_hands()
            await late.send(frame(b"", CLOSE))
            await late.read_to_end()
    await witnesses.saw(NEVER_SEEN)


async def _comes_from(watch: Watch, forwarded_for: bytes) -> tuple[str, RawClient]:
    client = await connect(watch.port)
    await client.send(request(x_forwarded_for=forwarded_for))
    await client.receive()
    return client.received.split(b" ", 2)[1].decode(), client


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        pytest.param(b"192.0.2.1", b"192.0.2.1", b"192.0.2.2", id="IPv4"),
        pytest.param(b"2001:db8:1:1::1", b"2001:db8:1:1:ffff::2", b"2001:db8:1:2::1", id="an IPv6 /64"),
        pytest.param(b"198.51.100.9, 192.0.2.7", b"8.8.8.8, 192.0.2.7", b"192.0.2.8", id="hops that prove nothing"),
        pytest.param(b"192.0.2.11, 127.0.0.3", b"192.0.2.11", b"192.0.2.12", id="a proxy behind a proxy"),
    ],
)
async def test_no_address_gets_more_than_its_share_of_connections_through_a_proxy(
    first: bytes, same: bytes, other: bytes, proxied_watch: Watch
) -> None:
    """Fails with the left-most hop in `client_behind`, without /64, and without `seat` in `Sessions._check_head`."""
    clients: list[RawClient] = []
    try:
        for forwarded_for, wanted in ((first, "101"), (same, "101"), (same, "429"), (first, "429"), (other, "101")):
            told, client = await _comes_from(proxied_watch, forwarded_for)
            clients.append(client)
            assert told == wanted, forwarded_for
    finally:
        for client in clients:
            client.sock.close()
    await until(lambda: not proxied_watch.metric("mud_connections"), "nobody is left")
    # There were two more arrivals in the burst. A refused one takes none while the seats are taken.
    for wanted in ("101", "101", "429"):
        told, client = await _comes_from(proxied_watch, first)
        client.sock.close()
        assert told == wanted
        await until(lambda: not proxied_watch.metric("mud_connections"), "nobody is left")
