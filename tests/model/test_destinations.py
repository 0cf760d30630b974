"""The destination rules: which address, port and name may be dialled, and what an exception opens."""

from __future__ import annotations

import pickle
from typing import NamedTuple

import pytest

from metadata_inventory.errors import InvalidSettings
from metadata_inventory.model import destinations
from metadata_inventory.model.destinations import DestinationPolicy
from metadata_inventory.model.urls import normalize

PUBLIC = "93.184.215.14"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
ALL_ONES = "ffff:ffff:ffff:ffff"
DEFAULT = DestinationPolicy.parse([])


def policy(*allow: str) -> DestinationPolicy:
    return DestinationPolicy.parse(allow)


class Range(NamedTuple):
    """A refused range with the addresses next to it; None where there is none or it is refused as well."""

    before: str | None
    first: str
    last: str
    after: str | None


RANGES = [
    Range(None, "0.0.0.0", "0.255.255.255", "1.0.0.0"),
    Range("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
    Range("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"),
    Range("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"),
    Range("168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17"),
    Range("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"),
    Range("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"),
    Range("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"),
    Range("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"),
    Range("192.31.195.255", "192.31.196.0", "192.31.196.255", "192.31.197.0"),
    Range("192.52.192.255", "192.52.193.0", "192.52.193.255", "192.52.194.0"),
    Range("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"),
    Range("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"),
    Range("192.175.47.255", "192.175.48.0", "192.175.48.255", "192.175.49.0"),
    Range("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"),
    Range("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"),
    Range("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"),
    Range("223.255.255.255", "224.0.0.0", "239.255.255.255", None),
    Range(None, "240.0.0.0", "255.255.255.255", None),
    Range(None, "::", f"1fff:ffff:ffff:ffff:{ALL_ONES}", "2000::"),
    Range(f"2000:ffff:ffff:ffff:{ALL_ONES}", "2001::", f"2001:1ff:ffff:ffff:{ALL_ONES}", "2001:200::"),
    Range(f"2001:db7:ffff:ffff:{ALL_ONES}", "2001:db8::", f"2001:db8:ffff:ffff:{ALL_ONES}", "2001:db9::"),
    Range(f"2001:ffff:ffff:ffff:{ALL_ONES}", "2002::", f"2002:ffff:ffff:ffff:{ALL_ONES}", "2003::"),
    Range(f"2620:4f:7fff:ffff:{ALL_ONES}", "2620:4f:8000::", f"2620:4f:8000:ffff:{ALL_ONES}", "2620:4f:8001::"),
    Range(f"3ffe:ffff:ffff:ffff:{ALL_ONES}", "3fff::", f"3fff:fff:ffff:ffff:{ALL_ONES}", "3fff:1000::"),
    Range(f"3fff:ffff:ffff:ffff:{ALL_ONES}", "4000::", f"ffff:ffff:ffff:ffff:{ALL_ONES}", None),
]


@pytest.mark.parametrize("edges", RANGES, ids=lambda edges: edges.first)
def test_range_is_refused_to_its_edges_and_no_further(edges: Range) -> None:
    assert not DEFAULT.allows_address(edges.first, 80)
    assert not DEFAULT.allows_address(edges.last, 80)
    for neighbour in (edges.before, edges.after):
        assert neighbour is None or DEFAULT.allows_address(neighbour, 80)


def test_every_range_of_the_tables_is_tested() -> None:
    first_addresses = {edges.first for edges in RANGES}
    tables = [*map(str, destinations.REFUSED_IPV4), *map(str, destinations.REFUSED_IPV6)]
    assert {network.partition("/")[0] for network in tables} <= first_addresses


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("169.254.169.254", id="cloud-metadata"),
        pytest.param("100.100.100.200", id="cloud-metadata-in-carrier-space"),
        pytest.param("fd00:ec2::254", id="cloud-metadata-ipv6"),
        pytest.param("::1", id="ipv6-loopback"),
        pytest.param("fe80::1", id="ipv6-link-local"),
        pytest.param("fc00::1", id="ipv6-unique-local"),
        pytest.param("ff02::1", id="ipv6-multicast"),
        pytest.param(f"::{PUBLIC}", id="ipv4-compatible"),
        pytest.param(f"64:ff9b::{PUBLIC}", id="nat64"),
        pytest.param(f"::ffff:0:{PUBLIC}", id="ipv4-translated"),
        pytest.param("2002:7f00:1::", id="6to4-of-loopback"),
        pytest.param("2001:0:7f00:1::", id="teredo-of-loopback"),
        pytest.param("::ffff:127.0.0.1", id="mapped-loopback"),
        pytest.param("::ffff:7f00:1", id="mapped-loopback-hex"),
        pytest.param("::ffff:10.0.0.1", id="mapped-private"),
        pytest.param("0:0:0:0:0:FFFF:A9FE:A9FE", id="mapped-metadata-long-form"),
        pytest.param("fe80::1%eth0", id="link-local-zone"),
        pytest.param(f"{PUBLIC_6}%eth0", id="public-zone"),
        pytest.param(f"::ffff:{PUBLIC}%1", id="mapped-zone"),
        pytest.param("2130706433", id="decimal-is-no-address"),
        pytest.param("0x7f.0.0.1", id="hex-is-no-address"),
        pytest.param("93.184.215.014", id="octal-is-no-address"),
        pytest.param("93.184.215", id="short-is-no-address"),
        pytest.param("９3.184.215.14", id="full-width-is-no-address"),
        pytest.param("[2606:2800:21f::1]", id="brackets-are-no-address"),
        pytest.param(f" {PUBLIC}", id="space-is-no-address"),
        pytest.param("", id="empty"),
        pytest.param("example.com", id="name"),
    ],
)
def test_address_is_refused(address: str) -> None:
    assert not DEFAULT.allows_address(address, 80)


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC_6, f"::ffff:{PUBLIC}", "8.8.8.8", "2001:4860:4860::8888"])
def test_public_address_is_allowed(address: str) -> None:
    assert DEFAULT.allows_address(address, 443)


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC_6])
@pytest.mark.parametrize(
    ("port", "allowed"),
    [(port, True) for port in (80, 443, 8000, 8080, 8443)]
    + [(port, False) for port in (0, 22, 25, 79, 81, 442, 444, 6379, 7999, 8001, 8079, 8081, 27017, 65535)],
)
def test_web_ports_alone_are_dialled(address: str, port: int, allowed: bool) -> None:
    assert DEFAULT.allows_address(address, port) is allowed


def test_own_addresses_are_refused() -> None:
    own = DestinationPolicy.parse([], own_addresses=[PUBLIC, f"{PUBLIC_6}%eth0", "::ffff:8.8.4.4"])
    for address in (PUBLIC, f"::ffff:{PUBLIC}", PUBLIC_6, PUBLIC_6.upper(), "8.8.4.4"):
        assert DEFAULT.allows_address(address, 80)
        assert not own.allows_address(address, 80)
    assert own.allows_address("93.184.215.15", 80)
    assert own.refuses_url(normalize(f"http://{PUBLIC}/"))


def test_own_address_can_be_allowed() -> None:
    own = DestinationPolicy.parse([f"{PUBLIC}:8080"], own_addresses=[PUBLIC])
    assert own.allows_address(PUBLIC, 8080)
    assert not own.allows_address(PUBLIC, 80)


@pytest.mark.parametrize(
    ("allow", "local", "allowed"),
    [
        pytest.param([], "192.0.2.1", True, id="to-elsewhere"),
        pytest.param([], PUBLIC, False, id="to-this-host"),
        pytest.param([PUBLIC], PUBLIC, True, id="to-this-host-allowed"),
        pytest.param([f"{PUBLIC}:81"], PUBLIC, False, id="to-this-host-allowed-on-another-port"),
    ],
)
def test_connection_with_one_address_at_both_ends_has_not_left_this_host(
    allow: list[str], local: str, allowed: bool
) -> None:
    assert policy(*allow).allows_connection(PUBLIC, 80, local) is allowed


def test_connection_to_a_refused_address_is_refused_from_everywhere() -> None:
    assert not DEFAULT.allows_connection("127.0.0.1", 80, "127.0.0.2")
    assert not DEFAULT.allows_connection(PUBLIC, 81, "192.0.2.1")


def test_own_address_that_is_none_stops_the_start() -> None:
    with pytest.raises(InvalidSettings):
        DestinationPolicy.parse([], own_addresses=["node-1"])


@pytest.mark.parametrize(
    ("allow", "allowed", "refused"),
    [
        pytest.param("10.0.0.0/8", [("10.9.8.7", 80), ("10.0.0.0", 9)], [("11.0.0.1", 81), ("::1", 80)], id="cidr"),
        pytest.param("10.0.0.0/8:81", [("10.9.8.7", 81)], [("10.9.8.7", 80), (PUBLIC, 81)], id="cidr-and-port"),
        pytest.param("127.0.0.1", [("127.0.0.1", 1), ("::ffff:127.0.0.1", 1)], [("127.0.0.2", 80)], id="address"),
        pytest.param("127.0.0.1:81", [("127.0.0.1", 81)], [("127.0.0.1", 80)], id="address-and-port"),
        pytest.param("::1", [("::1", 80), ("0::1", 9)], [("::2", 80), ("127.0.0.1", 80)], id="ipv6"),
        pytest.param("::1/128", [("::1", 80)], [("::", 80)], id="ipv6-cidr"),
        pytest.param("[::1]", [("::1", 9)], [("::2", 80)], id="ipv6-brackets"),
        pytest.param("[::1]:81", [("::1", 81)], [("::1", 80)], id="ipv6-brackets-and-port"),
        pytest.param("[fd00::/8]:81", [("fdff::1", 81)], [("fdff::1", 80), ("fe00::", 81)], id="ipv6-cidr-and-port"),
        pytest.param("::FFFF:127.0.0.0/104", [("127.0.0.1", 80)], [("128.0.0.1", 81)], id="mapped-cidr"),
        pytest.param(f"{PUBLIC}:22", [(PUBLIC, 22), (PUBLIC, 80)], [("8.8.8.8", 22)], id="public-address-other-port"),
        pytest.param("0.0.0.0/0", [("127.0.0.1", 22), (PUBLIC, 22)], [("::1", 80), (PUBLIC_6, 22)], id="all-of-ipv4"),
        pytest.param("::/0", [("::1", 22)], [("127.0.0.1", 80), ("::ffff:127.0.0.1", 80)], id="all-of-ipv6"),
        pytest.param("fe80::/10", [("fe80::1%eth0", 80)], [("fec0::1%eth0", 80)], id="zone-id"),
        pytest.param(f"{PUBLIC_6}", [(f"{PUBLIC_6}%eth0", 80)], [("2606::%eth0", 80)], id="zone-id-of-public"),
        pytest.param(" 10.0.0.1 ", [("10.0.0.1", 80)], [("10.0.0.2", 80)], id="spaces-around"),
    ],
)
def test_exception_opens_what_it_names(
    allow: str, allowed: list[tuple[str, int]], refused: list[tuple[str, int]]
) -> None:
    opened = policy(allow)
    assert [opened.allows_address(*destination) for destination in allowed] == [True] * len(allowed)
    assert [opened.allows_address(*destination) for destination in refused] == [False] * len(refused)
    assert opened.allows_address(PUBLIC, 80)


def test_exceptions_add_up_and_blanks_are_passed_over() -> None:
    opened = policy("", "127.0.0.1:81", " ", "[::1]:82")
    assert opened.allows_address("127.0.0.1", 81)
    assert opened.allows_address("::1", 82)
    assert not opened.allows_address("127.0.0.1", 82)
    assert policy("", " ") == DEFAULT


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("localhost", id="name"),
        pytest.param("localhost:80", id="name-and-port"),
        pytest.param("http://127.0.0.1/", id="url"),
        pytest.param("10.0.0.1/8", id="bits-beyond-prefix"),
        pytest.param("fd00::1/8", id="ipv6-bits-beyond-prefix"),
        pytest.param("10.0.0.0/33", id="prefix-too-long"),
        pytest.param("10.0.0.0/", id="prefix-empty"),
        pytest.param("10.0.0.0/255.0.0.0", id="netmask"),
        pytest.param("10.0.0.0/0.255.255.255", id="hostmask"),
        pytest.param("10.0.0", id="short"),
        pytest.param("010.0.0.1", id="octal"),
        pytest.param("2130706433", id="decimal"),
        pytest.param("10.0.0.1:", id="port-empty"),
        pytest.param("10.0.0.1:0", id="port-zero"),
        pytest.param("10.0.0.1:65536", id="port-too-high"),
        pytest.param("10.0.0.1:+80", id="port-signed"),
        pytest.param("10.0.0.1:８0", id="port-full-width"),
        pytest.param("10.0.0.1:*", id="port-star"),
        pytest.param("10.0.0.1:80-90", id="port-range"),
        pytest.param("::1/128:80", id="ipv6-port-without-brackets"),
        pytest.param("[::1]/128", id="prefix-after-bracket"),
        pytest.param("[::1]80", id="no-colon-after-bracket"),
        pytest.param("[::1", id="bracket-open"),
        pytest.param("[]:80", id="brackets-empty"),
        pytest.param("fe80::1%eth0", id="zone-id"),
        pytest.param("10.0.0.1,10.0.0.2", id="two-in-one"),
        pytest.param(":80", id="port-alone"),
    ],
)
def test_unreadable_exception_stops_the_start_and_is_quoted(text: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        policy("127.0.0.1", text)
    assert repr(text) in error.value.detail


def test_network_meant_is_told() -> None:
    with pytest.raises(InvalidSettings, match=r"10\.0\.0\.0/8"):
        policy("10.1.2.3/8")


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1/", id="loopback"),
        pytest.param("http://2130706433/", id="decimal"),
        pytest.param("http://017700000001/", id="octal"),
        pytest.param("http://0177.0.0.01/", id="octal-parts"),
        pytest.param("http://0x7f000001/", id="hex"),
        pytest.param("http://0x7f.0.0x0.1/", id="hex-parts"),
        pytest.param("http://127.1/", id="short"),
        pytest.param("http://0/", id="zero"),
        pytest.param("http://127.0.0.1./", id="trailing-dot"),
        pytest.param("http://%31%32%37.0.0.1/", id="percent-encoded"),
        pytest.param("http://127%2e0%2e0%2e1/", id="percent-encoded-dots"),
        pytest.param("http://１２７．０．０．１/", id="full-width"),
        pytest.param("http://①②⑦.0.0.①/", id="circled"),
        pytest.param("http://127。0。0。1/", id="ideographic-dots"),
        pytest.param("http://[::1]/", id="ipv6"),
        pytest.param("http://[0:0:0:0:0:0:0:1]/", id="ipv6-long"),
        pytest.param("http://[::ffff:127.0.0.1]/", id="mapped"),
        pytest.param("http://[::ffff:7f00:1]/", id="mapped-hex"),
        pytest.param("http://[::127.0.0.1]/", id="compatible"),
        pytest.param("http://[64:ff9b::7f00:1]/", id="nat64"),
        pytest.param("http://169.254.169.254/latest/meta-data/", id="metadata"),
        pytest.param("http://2852039166/", id="metadata-decimal"),
        pytest.param(f"http://{PUBLIC}:22/", id="public-address-other-port"),
        pytest.param(f"http://[{PUBLIC_6}]:22/", id="public-ipv6-other-port"),
        pytest.param("http://example.com:22/", id="name-other-port"),
        pytest.param("http://example.com:0/", id="port-zero"),
        pytest.param("http://localhost/", id="localhost"),
        pytest.param("http://LOCALHOST./", id="localhost-with-dot"),
        pytest.param("http://a.localhost/", id="under-localhost"),
        pytest.param("http://ｌocalhost/", id="localhost-full-width"),
        pytest.param("http://%6cocalhost/", id="localhost-percent-encoded"),
        pytest.param("http://metadata.google.internal/", id="metadata-name"),
        pytest.param("http://intranet/", id="single-label"),
        pytest.param("http://web/", id="single-label-any"),
        pytest.param("http://ai./", id="single-label-with-dot"),
        *(
            pytest.param(f"http://{name}/", id=name)
            for zone in (
                *("local", "localdomain", "internal", "intranet", "lan", "home", "corp", "home.arpa"),
                *("in-addr.arpa", "ip6.arpa", "test", "invalid", "onion"),
            )
            for name in (zone, f"a.{zone}", f"a.b.{zone}.")
        ),
    ],
)
def test_url_is_refused_without_dns(url: str) -> None:
    assert DEFAULT.refuses_url(normalize(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://example.com./",
        "http://example.com:8080/",
        f"http://{PUBLIC}/",
        f"http://[{PUBLIC_6}]/",
        f"http://[::ffff:{PUBLIC}]/",
        "http://notlocalhost.com/",
        "http://localhost.com/",
        "http://mylocal.example/",
        "http://a.xlocal/",
        "http://internal.example.com/",
        "http://corp.com/",
        "http://e164.arpa/",
        "http://10.0.0.1.example/",
    ],
)
def test_url_that_may_be_public_is_left_to_the_socket(url: str) -> None:
    assert not DEFAULT.refuses_url(normalize(url))


@pytest.mark.parametrize(
    ("allow", "url", "refused"),
    [
        # ports
        pytest.param("10.0.0.0/8", "http://example.com:22/", False, id="any-port-opens-names-on-every-port"),
        pytest.param("10.0.0.1:22", "http://example.com:22/", False, id="port-opens-names-on-it"),
        pytest.param("10.0.0.1:22", "http://example.com:23/", True, id="other-port-stays-shut"),
        pytest.param("10.0.0.1:22", "http://8.8.8.8:22/", True, id="address-is-judged-whole"),
        pytest.param("10.0.0.1:22", "http://10.0.0.1:22/", False, id="address-and-port-open"),
        pytest.param("10.0.0.1:22", "http://10.0.0.1/", True, id="address-open-on-its-port-only"),
        # localhost
        pytest.param("127.0.0.0/8", "http://localhost:5000/", False, id="loopback-opens-localhost"),
        pytest.param("127.0.0.0/8", "http://a.localhost./", False, id="loopback-opens-names-under-localhost"),
        pytest.param("::1", "http://localhost/", False, id="ipv6-loopback-opens-localhost"),
        pytest.param("0.0.0.0/0", "http://localhost/", False, id="everything-opens-localhost"),
        pytest.param("127.0.0.1:5000", "http://localhost:5000/", False, id="loopback-port-opens-localhost-on-it"),
        pytest.param("127.0.0.1:5000", "http://localhost/", True, id="loopback-port-leaves-localhost-on-others"),
        pytest.param("10.0.0.0/8", "http://localhost/", True, id="private-leaves-localhost"),
        # single labels
        pytest.param("172.16.0.0/12", "http://web:5000/", False, id="private-opens-services"),
        pytest.param("127.0.0.0/8", "http://web/", False, id="loopback-opens-single-labels"),
        pytest.param("172.16.0.0/12:5000", "http://web:5000/", False, id="port-opens-services-on-it"),
        pytest.param("172.16.0.0/12:5000", "http://web/", True, id="port-leaves-services-on-others"),
        # private names
        pytest.param("172.16.0.0/12", "http://host.docker.internal/", False, id="private-opens-internal"),
        pytest.param("fd00::/8", "http://wiki.corp/", False, id="ipv6-private-opens-corp"),
        pytest.param("172.16.0.0/12", "http://test/", False, id="private-opens-a-service-named-test"),
        pytest.param("127.0.0.0/8", "http://metadata.google.internal/", True, id="loopback-leaves-internal"),
        pytest.param("127.0.0.1", "http://printer.local/", True, id="loopback-leaves-local"),
        pytest.param("::1", "http://intranet/", True, id="ipv6-loopback-leaves-intranet"),
        pytest.param("10.0.0.0/8:5000", "http://wiki.corp/", True, id="private-port-leaves-corp-on-others"),
        # never
        pytest.param("0.0.0.0/0", "http://a.onion/", True, id="nothing-opens-onion"),
        pytest.param("0.0.0.0/0", "http://a.invalid/", True, id="nothing-opens-invalid"),
        pytest.param("0.0.0.0/0", "http://1.0.0.127.in-addr.arpa/", True, id="nothing-opens-reverse"),
        pytest.param("::/0", "http://1.ip6.arpa/", True, id="nothing-opens-reverse-ipv6"),
    ],
)
def test_exception_opens_urls(allow: str, url: str, refused: bool) -> None:
    assert policy(allow).refuses_url(normalize(url)) is refused


def test_fingerprint_changes_with_the_exceptions_only() -> None:
    allow = ["10.0.0.0/8", "127.0.0.1:81", "[::1]:81"]
    fingerprint = policy(*allow).fingerprint
    assert len(fingerprint) == len(DEFAULT.fingerprint) == 16
    assert fingerprint == policy(*reversed(allow), allow[0], "::ffff:10.0.0.0/104").fingerprint
    assert fingerprint == DestinationPolicy.parse(allow, own_addresses=[PUBLIC]).fingerprint
    others = [policy(*allow[1:]), policy(*allow, "10.0.0.0/8:80"), policy("127.0.0.1:8"), policy("127.0.0.1"), DEFAULT]
    assert len({fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_policy_goes_to_another_process_whole() -> None:
    made = DestinationPolicy.parse(["10.0.0.0/8", "[::1]:81"], own_addresses=[PUBLIC])
    arrived = pickle.loads(pickle.dumps(made))
    assert arrived == made
    assert arrived.fingerprint == made.fingerprint
    assert [arrived.allows_address(*destination) for destination in (("10.0.0.1", 9), ("::1", 81), (PUBLIC, 80))] == [
        True,
        True,
        False,
    ]
