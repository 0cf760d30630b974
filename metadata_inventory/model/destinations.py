"""The destination policy: which addresses, ports and names may be connected to. Pure.

A client that submits a URL chooses where this service connects, so it connects to public addresses on web ports only,
unless the operator allows more. `DestinationPolicy.allows_address` decides, for every socket, once the address is
known: no name, redirect or changing DNS response gets around it. `refuses_url` only refuses earlier, where that is
certain without DNS.

The tables follow the IANA special-purpose registries (RFC 6890, IPv4 and IPv6). Each block is refused as a whole, also
where a registry calls part of it reachable: no web site is served from there. `ipaddress.is_global` is not used: it
differs here (multicast, AS112, 6to4 and its relays, the space outside 2000::/3) and between versions of Python.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from metadata_inventory.errors import InvalidSettings
from metadata_inventory.model.urls import NormalizedUrl

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

RULES_VERSION: Final = 1  # raised when the decision changes while the tables below stay; part of the fingerprint
PORTS: Final = (80, 443, 8000, 8080, 8443)

REFUSED_IPV4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # "this network" (RFC 791); Linux dials 0.0.0.0 as loopback
            "10.0.0.0/8",  # private (RFC 1918)
            "100.64.0.0/10",  # carriers' NAT (RFC 6598)
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's host agent, on an otherwise public network
            "169.254.0.0/16",  # link-local (RFC 3927), where clouds serve instance metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # IETF protocol assignments (RFC 6890)
            "192.0.2.0/24",  # documentation (RFC 5737)
            "192.31.196.0/24",  # AS112 (RFC 7535)
            "192.52.193.0/24",  # AMT (RFC 7450)
            "192.88.99.0/24",  # 6to4 relays (RFC 7526)
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112 (RFC 7534)
            "198.18.0.0/15",  # benchmarks (RFC 2544)
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
GLOBAL_IPV6: Final = IPv6Network("2000::/3")  # all that is given out as global unicast; everything else is refused
REFUSED_IPV6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments; Teredo, which holds an IPv4 address, is in it
            "2001:db8::/32",  # documentation (RFC 3849)
            "2002::/16",  # 6to4 (RFC 3056), holds an IPv4 address
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)

LOOPBACK_NAMES: Final = ("localhost",)  # libcurl itself resolves these to loopback
PRIVATE_NAMES: Final = ("local", "localdomain", "internal", "intranet", "lan", "home", "corp", "home.arpa", "test")
UNUSABLE_NAMES: Final = ("in-addr.arpa", "ip6.arpa", "invalid", "onion")  # hold no address, or may not be asked for

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")  # as exceptions: what the setting `allow_loopback` stands for

_LOOPBACK: Final = tuple(map(ip_network, LOOPBACK))
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_CIDR = re.compile(r"[0-9a-f.:]+(?:/[0-9]{1,3})?", re.IGNORECASE | re.ASCII)
_MAX_PORT: Final = 65535
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Allowance:
    """One exception to the refusals: a network, and the one port on it, or every port when None."""

    network: Network
    port: int | None

    @property
    def reaches_loopback(self) -> bool:
        return any(self.network.overlaps(loopback) for loopback in _LOOPBACK)

    @property
    def reaches_beyond_loopback(self) -> bool:
        return not any(_contains(loopback, self.network) for loopback in _LOOPBACK)

    def __str__(self) -> str:
        return f"[{self.network}]:{self.port or '*'}"


@dataclass(frozen=True, slots=True)
class DestinationPolicy:
    """The built-in refusals, this host's own addresses, and the operator's exceptions to both. Made by `parse`."""

    allowances: tuple[Allowance, ...] = ()
    own_addresses: frozenset[Address] = frozenset()

    @classmethod
    def parse(cls, allow: Sequence[str], own_addresses: Sequence[str] = ()) -> DestinationPolicy:
        """The policy with the exceptions `allow`, each `CIDR[:port]`; raises InvalidSettings.

        An address alone is a network of one. An IPv6 network stands in brackets when a port follows:
        `[fd00::/8]:8080`. Blank texts are ignored. `own_addresses` are this host's; they are refused as loopback is.
        """
        allowances = {_read_allowance(text.strip()) for text in allow if text.strip()}
        try:
            own = frozenset(_plain(ip_address(text)) for text in own_addresses)
        except ValueError as error:
            raise InvalidSettings("One of this host's own addresses is not an IP address.") from error
        return cls(allowances=tuple(sorted(allowances, key=str)), own_addresses=own)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the rules and the exceptions: refusals stored under other rules are void.

        The own addresses are left out: they differ between the nodes that share a database, and each node would void
        the refusals of the others.
        """
        return _fingerprint(self.allowances)

    def allows_address(self, ip: str, port: int) -> bool:
        """Whether a socket to `ip` and `port` may be made; False for a text that is no address.

        An IPv4-mapped IPv6 address is judged as its IPv4 address. One with a zone id names an interface of this host
        and needs an exception, whatever the address.
        """
        try:
            address, zoned, public = _assess(ip)
        except ValueError:
            return False
        if self._is_exempt(address, port):
            return True
        return public and not zoned and port in PORTS and address not in self.own_addresses

    def allows_connection(self, ip: str, port: int, local_ip: str) -> bool:
        """Whether a connection to `ip` and `port`, whose own end is `local_ip`, may be used.

        As `allows_address`. Besides, a connection whose two ends have the same address is refused without an exception:
        it has not left this host, so the address is one of its own, even if it came after `own_addresses` were read.
        """
        if not self.allows_address(ip, port):
            return False
        return ip != local_ip or self._is_exempt(_assess(ip)[0], port)

    def allows_own(self, ip: str, port: int) -> bool:
        """Whether an exception covers `ip` and `port`: then a socket may be made even to an address of this host."""
        return self._is_exempt(_assess(ip)[0], port)

    def _is_exempt(self, address: Address, port: int) -> bool:
        return any(address in allowance.network for allowance in self._allowances_on(port))

    def refuses_url(self, url: NormalizedUrl) -> bool:
        """Whether the URL is certain to be refused, without asking DNS. If false, `allows_address` still decides.

        An address is judged as a socket to it would be. A name is refused when no exception allows its port and that
        is not a web port, or when it is of a kind that has no public address. A name of such a kind is left to DNS and
        the socket's check when an exception on this port makes it likely that the operator means it:

        * localhost and names under it: an exception that reaches loopback;
        * the private names (internal, lan, test and so on): an exception that reaches beyond loopback. One for
          loopback alone, as tests and development servers have, is not enough;
        * single labels, such as the services of a docker-compose file: any exception, since this host or its network
          alone defines such a name;
        * reverse zones, invalid and onion: none.
        """
        try:
            ip_address(url.host)
        except ValueError:
            return self._refuses_name(url.host.lower().removesuffix("."), url.port)
        return not self.allows_address(url.host, url.port)

    def _refuses_name(self, name: str, port: int) -> bool:
        allowances = self._allowances_on(port)
        if port not in PORTS and not allowances:
            return True
        if _belongs(name, UNUSABLE_NAMES):
            return True
        if _belongs(name, LOOPBACK_NAMES):
            return not any(allowance.reaches_loopback for allowance in allowances)
        if _belongs(name, PRIVATE_NAMES):
            return not any(allowance.reaches_beyond_loopback for allowance in allowances)
        return "." not in name and not allowances

    def _allowances_on(self, port: int) -> list[Allowance]:
        return [allowance for allowance in self.allowances if allowance.port is None or allowance.port == port]


@lru_cache(maxsize=8)
def _fingerprint(allowances: tuple[Allowance, ...]) -> str:
    addresses = (PORTS, REFUSED_IPV4, GLOBAL_IPV6, REFUSED_IPV6)
    names = (LOOPBACK_NAMES, PRIVATE_NAMES, UNUSABLE_NAMES)
    exceptions = [str(allowance) for allowance in allowances]
    return hashlib.sha256(repr((RULES_VERSION, addresses, names, exceptions)).encode()).hexdigest()[:16]


@lru_cache(maxsize=4096)  # 20 µs without, for every socket; the result depends on the text alone
def _assess(ip: str) -> tuple[Address, bool, bool]:
    """The address to judge, whether it has a zone id, and whether the tables leave it public; raises ValueError."""
    read = ip_address(ip)
    address = _plain(read)
    if isinstance(address, IPv4Address):
        public = not any(address in network for network in REFUSED_IPV4)
    else:
        public = address in GLOBAL_IPV6 and not any(address in network for network in REFUSED_IPV6)
    return address, "%" in ip, public


def _plain(address: Address) -> Address:
    """The address without a zone id, and the IPv4 address instead of its IPv4-mapped IPv6 form (RFC 4291 §2.5.5.2)."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def _read_allowance(text: str) -> Allowance:
    """One `CIDR[:port]`; raises InvalidSettings with a sentence that quotes the text."""
    if text.startswith("["):
        cidr, bracket, tail = text[1:].partition("]")
        colon, port = tail[:1], tail[1:]
        if not bracket or colon not in ("", ":"):
            raise _unreadable(text, "write an IPv6 network with a port as [network]:port")
    elif text.count(":") == 1:
        cidr, colon, port = text.partition(":")
    else:
        cidr, colon, port = text, "", ""
    if colon and not (_PORT.fullmatch(port) and 1 <= int(port) <= _MAX_PORT):
        raise _unreadable(text, "the port must be a number from 1 to 65535")
    return Allowance(network=_read_network(cidr, text), port=int(port) if colon else None)


def _read_network(cidr: str, text: str) -> Network:
    if not _CIDR.fullmatch(cidr):  # names, zone ids, and netmasks, which ip_network would take
        raise _unreadable(text, "an address or a network is expected, such as 10.0.0.0/8, 127.0.0.1:8080 or ::1")
    try:
        network = ip_network(cidr, strict=False)
    except ValueError as error:
        raise _unreadable(text, "this is no address and no network in CIDR notation") from error
    if "/" in cidr and ip_address(cidr.partition("/")[0]) != network.network_address:
        raise _unreadable(text, f"the address has bits beyond its prefix; the network is {network}")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        first = int(network.network_address) - int(_MAPPED.network_address)
        return IPv4Network((first, network.prefixlen - _MAPPED.prefixlen))
    return network


def _unreadable(text: str, reason: str) -> InvalidSettings:
    return InvalidSettings(f"Each item of allow_destinations must be CIDR[:port], not {text!r}: {reason}.")


def _contains(outer: Network, inner: Network) -> bool:
    return inner[0] in outer and inner[-1] in outer  # False across versions, where subnet_of raises


def _belongs(name: str, zones: tuple[str, ...]) -> bool:
    return any(name == zone or name.endswith(f".{zone}") for zone in zones)
