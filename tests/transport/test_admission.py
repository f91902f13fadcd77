"""How many may come in from one address, who counts as one address, and whose word is believed about it."""

from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from mudserver.config import Limits
from mudserver.errors import TooManyFromHere
from mudserver.transport.admission import Admission, Network

LIMITS = Limits(
    connections_per_address_max=2,
    arrivals_per_address_per_second=0.5,
    arrivals_per_address_burst=3,
    addresses_remembered_max=4,
)


class Door:
    """An Admission on a clock of its own."""

    def __init__(self, *proxies: str, limits: Limits = LIMITS) -> None:
        self.now = 0.0
        networks: tuple[Network, ...] = tuple(ip_network(each) for each in proxies)
        self.admission = Admission(limits, networks, lambda: self.now)
        self.seats = ExitStack()

    def lets_in(self, address: str) -> bool:
        """Takes a seat for good, if there is one."""
        try:
            self.seats.enter_context(self.admission.seat(address))
        except TooManyFromHere:
            return False
        return True

    def visit(self, address: str) -> bool:
        """Takes a seat and gives it back at once, if there is one."""
        try:
            with self.admission.seat(address):
                return True
        except TooManyFromHere:
            return False


def test_an_address_has_so_many_seats_and_another_has_its_own() -> None:
    door = Door()
    assert [door.lets_in("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert [door.lets_in("192.0.2.2") for _ in range(3)] == [True, True, False]


def test_a_seat_is_free_again_when_its_connection_is_over() -> None:
    door = Door()
    with door.admission.seat("192.0.2.1"), door.admission.seat("192.0.2.1"):
        assert not door.visit("192.0.2.1")
    assert door.visit("192.0.2.1")


def test_a_seat_is_given_back_when_its_connection_fails() -> None:
    door = Door()
    for _ in range(3):
        with pytest.raises(ValueError, match="a bug"), door.admission.seat("192.0.2.1"):
            raise ValueError("a bug")
        door.now += 2.0
    assert [door.lets_in("192.0.2.1") for _ in range(2)] == [True, True]


def test_who_comes_again_and_again_waits_for_each_new_turn() -> None:
    door = Door()
    assert [door.visit("192.0.2.1") for _ in range(4)] == [True, True, True, False]
    door.now = 1.75
    assert not door.visit("192.0.2.1")
    door.now = 2.0
    assert [door.visit("192.0.2.1") for _ in range(2)] == [True, False]


def test_whoever_is_refused_for_want_of_a_seat_uses_up_no_turn() -> None:
    door = Door()
    with door.admission.seat("192.0.2.1"), door.admission.seat("192.0.2.1"):
        assert [door.visit("192.0.2.1") for _ in range(10)] == [False] * 10
    assert door.visit("192.0.2.1")


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8:1:1::1", "2001:db8:1:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:1::1", "2001:db8:1:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_who_counts_as_one_address(one: str, other: str, are_one: bool) -> None:
    door = Door()
    assert [door.lets_in(one) for _ in range(2)] == [True, True]
    assert door.lets_in(other) is not are_one


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "memory", ""])
def test_loopback_and_what_is_no_address_are_not_counted(address: str) -> None:
    door = Door()
    assert all(door.lets_in(address) for _ in range(50))


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("  192.0.2.1  ", "192.0.2.1"),
        ("8.8.8.8, 192.0.2.1", "192.0.2.1"),
        ("8.8.8.8, 192.0.2.1, 10.1.1.1", "192.0.2.1"),
        ("127.0.0.1, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, 10.1.1.1, 10.2.2.2", "192.0.2.1"),
        ("192.0.2.1, nonsense, 10.1.1.1", "10.1.1.1"),
        ("192.0.2.1, nonsense", "10.0.0.1"),
        ("nonsense", "10.0.0.1"),
        ("", "10.0.0.1"),
        (",,,", "10.0.0.1"),
        ("10.9.9.9", "10.9.9.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("192.0.2.1:4711", "10.0.0.1"),
        ("\x1b[31m", "10.0.0.1"),
    ],
)
def test_the_client_is_the_right_most_hop_that_is_no_proxy_of_ours(forwarded_for: str, client: str) -> None:
    assert Door("10.0.0.0/8").admission.client_behind("10.0.0.1", forwarded_for) == client


@pytest.mark.parametrize(
    ("peer", "is_proxy"),
    [("10.0.0.1", True), ("::ffff:10.0.0.1", True), ("11.0.0.1", False), ("fd00::1", True), ("memory", False)],
)
def test_only_the_networks_we_were_told_of_speak_for_others(peer: str, is_proxy: bool) -> None:
    assert Door("10.0.0.0/8", "fd00::/8").admission.is_proxy(peer) is is_proxy


def test_a_crowd_of_addresses_is_forgotten_once_at_rest_and_nobody_gains_by_it() -> None:
    door = Door()
    assert door.lets_in("192.0.2.1")
    for _ in range(3):
        door.visit("192.0.2.2")
    for last in range(3, 50):
        door.visit(f"192.0.2.{last}")
    # The one who sits here and the one who has used up all turns are remembered through it all.
    assert [door.lets_in("192.0.2.1") for _ in range(2)] == [True, False]
    assert not door.visit("192.0.2.2")
    door.now = 100.0
    assert all(door.visit(f"198.51.100.{last}") for last in range(1, 50))
