"""How many may come in, and how fast, from one address: nobody can take all the seats."""

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mudserver.config import Limits
from mudserver.errors import TooManyFromHere
from mudserver.transport.buckets import TokenBucket

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV6_HOUSEHOLD_BITS = 64
"""An IPv6 customer is given at least a /64, so a single address says nothing there."""


@dataclass(slots=True)
class _Household:
    """The connections that one address has open, and how many new ones it may still make."""

    arrivals: TokenBucket
    connections: int = 0


class Admission:
    """Counts connections by address. Loopback and addresses that are none (memory streams) are not counted.

    `proxies` are networks whose X-Forwarded-For is believed; `now` gives seconds.
    """

    def __init__(self, limits: Limits, proxies: tuple[Network, ...], now: Callable[[], float]) -> None:
        self._limits = limits
        self._proxies = proxies
        self._now = now
        self._households: dict[str, _Household] = {}

    def is_proxy(self, peer: str) -> bool:
        """Whether the peer speaks for others."""
        if not self._proxies:
            return False
        address = _parse(peer)
        return address is not None and any(address in network for network in self._proxies)

    def client_behind(self, peer: str, forwarded_for: str) -> str:
        """The address of the client behind a proxy: the right-most hop that is no proxy of ours.

        What stands further left was written by whoever that is, and proves nothing.
        """
        client = peer
        for hop in reversed([each.strip() for each in forwarded_for.split(",")]):
            if _parse(hop) is None:
                return client
            client = hop
            if not self.is_proxy(hop):
                return client
        return client

    @contextmanager
    def seat(self, address: str) -> Iterator[None]:
        """A place for one connection. Raises TooManyFromHere."""
        household_key = _household_key(address)
        if household_key is None:
            yield
            return
        household = self._household(household_key)
        if household.connections >= self._limits.connections_per_address_max:
            raise TooManyFromHere("Too many connections from your address.")
        if not household.arrivals.take(self._now()):
            raise TooManyFromHere("Too many new connections from your address; wait a little.")
        household.connections += 1
        try:
            yield
        finally:
            household.connections -= 1

    def _household(self, key: str) -> _Household:
        if key not in self._households:
            if len(self._households) >= self._limits.addresses_remembered_max:
                self._forget_idle()
            rate, burst = self._limits.arrivals_per_address_per_second, self._limits.arrivals_per_address_burst
            self._households[key] = _Household(TokenBucket(rate, burst, self._now()))
        return self._households[key]

    def _forget_idle(self) -> None:
        now = self._now()
        for key, household in list(self._households.items()):
            if household.connections == 0 and household.arrivals.is_full(now):
                del self._households[key]


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


def _household_key(address: str) -> str | None:
    """What addresses are counted by; None for those that are not counted."""
    parsed = _parse(address)
    if parsed is None or parsed.is_loopback:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, _IPV6_HOUSEHOLD_BITS), strict=False))
    return str(parsed)
