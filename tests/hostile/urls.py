"""URLs that lead to prohibited destinations, or try to: `python -m tests.hostile.urls` prints the table.

In a URL `{port}` is the trap's port. Names resolve to loopback.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from metadata_inventory.errors import (
    DestinationProhibited,
    InvalidUrl,
    UrlCharacterRefused,
    UrlHostEmpty,
    UrlSchemeUnsupported,
    UrlUserinfoRefused,
)

PROHIBITED = DestinationProhibited.code
INVALID = InvalidUrl.code
CHARACTER = UrlCharacterRefused.code
NO_HOST = UrlHostEmpty.code
SCHEME = UrlSchemeUnsupported.code
USERINFO = UrlUserinfoRefused.code
KEPT = "kept"  # the redirect is not followed: it is the answer itself
ELSEWHERE = "elsewhere"  # followed as browsers do, to where nothing is refused


@dataclass(frozen=True)
class HostileUrl:
    """`api` is the code that the API answers, `redirect` what becomes of a Location that says it. `reaches` is the trap
    to which it would lead if nobody refused it.
    """

    name: str
    url: str
    api: str = PROHIBITED
    redirect: str = PROHIBITED
    reaches: str | None = None


def loopback(name: str, host: str) -> HostileUrl:
    return HostileUrl(name, f"http://{host}:{{port}}/", reaches="127.0.0.1")


def unheard(name: str, host: str) -> HostileUrl:
    """An address behind which no trap can be laid."""
    return HostileUrl(name, f"http://{host}:{{port}}/")


def scheme(text: str) -> HostileUrl:
    return HostileUrl(f"scheme-{text.partition(':')[0]}", text, api=SCHEME, redirect=KEPT)


SPELLINGS = (
    loopback("dotted", "127.0.0.1"),
    HostileUrl("last-of-loopback", "http://127.255.255.254:{port}/", reaches="127.255.255.254"),
    loopback("decimal", "2130706433"),
    loopback("octal", "017700000001"),
    loopback("octal-parts", "0177.0.0.01"),
    loopback("octal-many-zeros", "0000000000177.0.0.1"),
    loopback("hex", "0x7f000001"),
    loopback("hex-parts", "0x7f.0.0x0.1"),
    loopback("hex-upper-case", "0X7F.0.0.0X1"),
    loopback("hex-empty-part", "127.0x.0x.1"),
    loopback("mixed-bases", "0x7f.0.1"),
    loopback("two-parts", "127.1"),
    loopback("three-parts", "127.0.1"),
    loopback("zero", "0"),
    loopback("zeros", "0.0.0.0"),
    loopback("trailing-dot", "127.0.0.1."),
    loopback("short-trailing-dot", "127.1."),
    loopback("percent-digits", "%31%32%37.0.0.1"),
    loopback("percent-dots", "127%2e0%2E0%2e1"),
    loopback("percent-full-width", "%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1"),
    loopback("full-width", "１２７．０．０．１"),
    loopback("full-width-hex", "０ｘ７ｆ.1"),
    loopback("circled", "①②⑦.0.0.①"),
    loopback("superscript", "¹²⁷.0.0.1"),
    loopback("mathematical", "𝟏𝟐𝟕.𝟎.𝟎.𝟏"),
    loopback("ideographic-dots", "127。0。0。1"),
    loopback("half-width-dots", "127｡0｡0｡1"),
    loopback("soft-hyphen", "127.0.0.\u00ad1"),
    loopback("zero-width-space", "127.0.\u200b0.1"),
    HostileUrl("port-with-zeros", "http://127.0.0.1:000{port}/", reaches="127.0.0.1"),
    HostileUrl("upper-case-scheme", "HTTP://127.0.0.1:{port}/", reaches="127.0.0.1"),
)

IPV6 = (
    HostileUrl("ipv6", "http://[::1]:{port}/", reaches="::1"),
    HostileUrl("ipv6-long", "http://[0:0:0:0:0:0:0:1]:{port}/", reaches="::1"),
    HostileUrl("ipv6-zeros", "http://[0000:0000::0000:0001]:{port}/", reaches="::1"),
    HostileUrl("ipv6-dotted", "http://[::0.0.0.1]:{port}/", reaches="::1"),
    HostileUrl("ipv6-unspecified", "http://[::]:{port}/", reaches="::1"),
    loopback("mapped", "[::ffff:127.0.0.1]"),
    loopback("mapped-hex", "[::ffff:7f00:1]"),
    loopback("mapped-long", "[0:0:0:0:0:FFFF:7F00:0001]"),
    loopback("mapped-zero", "[::ffff:0.0.0.0]"),
    unheard("mapped-private", "[::ffff:10.0.0.1]"),
    unheard("translated", "[::ffff:0:127.0.0.1]"),
    unheard("compatible", "[::127.0.0.1]"),
    unheard("nat64", "[64:ff9b::7f00:1]"),
    unheard("nat64-local", "[64:ff9b:1::7f00:1]"),
    unheard("6to4", "[2002:7f00:1::]"),
    unheard("teredo-server", "[2001:0:7f00:1::]"),
    unheard("teredo-client", "[2001:0:4136:e378:8000:63bf:80ff:fffe]"),
    unheard("link-local", "[fe80::1]"),
    unheard("site-local", "[fec0::1]"),
    unheard("unique-local", "[fd00:ec2::254]"),
    unheard("multicast-ipv6", "[ff02::1]"),
    unheard("documentation-ipv6", "[2001:db8::1]"),
    unheard("documentation-2024", "[3fff::1]"),
    unheard("outside-global-unicast", "[4000::1]"),
    HostileUrl("zone-percent-encoded", "http://[::1%25lo]:{port}/", api=INVALID, redirect=KEPT),
    HostileUrl("zone", "http://[fe80::1%lo]:{port}/", api=INVALID, redirect=KEPT),
    HostileUrl("ipv4-in-brackets", "http://[127.0.0.1]:{port}/", api=INVALID, redirect=KEPT),
)

RANGES = (
    unheard("private-10", "10.0.0.1"),
    unheard("private-172", "172.31.255.254"),
    unheard("private-192", "192.168.0.1"),
    unheard("carrier", "100.64.0.1"),
    unheard("cloud-metadata", "169.254.169.254"),
    unheard("cloud-metadata-decimal", "2852039166"),
    unheard("cloud-metadata-mapped", "[::ffff:a9fe:a9fe]"),
    unheard("cloud-metadata-in-carrier-space", "100.100.100.200"),
    unheard("cloud-agent", "168.63.129.16"),
    unheard("protocol-assignments", "192.0.0.192"),
    unheard("benchmarks", "198.19.255.255"),
    unheard("multicast", "224.0.0.1"),
    unheard("reserved", "240.0.0.1"),
    unheard("broadcast", "255.255.255.255"),
    HostileUrl("public-ssh", "http://93.184.215.14:22/"),
    HostileUrl("public-mail", "http://93.184.215.14:25/"),
    HostileUrl("public-database", "http://[2606:2800:21f::1]:27017/"),
    HostileUrl("port-zero", "http://93.184.215.14:0/"),
)

NAMES = (
    loopback("localhost", "localhost"),
    loopback("localhost-upper-case-dot", "LOCALHOST."),
    loopback("localhost-full-width", "ｌｏｃａｌｈｏｓｔ"),
    loopback("localhost-percent", "%6cocalhost"),
    loopback("localhost-kelvin", "loo\u212a.localhost"),
    loopback("under-localhost", "a.b.localhost"),
    loopback("localhost-localdomain", "localhost.localdomain"),
    loopback("single-label", "db"),
    loopback("single-label-dot", "wpad."),
    loopback("metadata-name", "metadata.google.internal"),
    loopback("cluster-name", "kubernetes.default.svc.cluster.local"),
    loopback("router", "router.lan"),
    loopback("home", "nas.home.arpa"),
    loopback("reverse", "1.0.0.127.in-addr.arpa"),
    loopback("reverse-ipv6", "1.0.0.0.ip6.arpa"),
    HostileUrl("onion", "http://a.onion:{port}/"),  # libcurl refuses these as well
    HostileUrl("name-on-other-port", "http://a.example:22/"),
)

CONFUSIONS = (
    HostileUrl("userinfo", "http://user@127.0.0.1:{port}/", api=USERINFO, redirect=KEPT),
    HostileUrl("userinfo-like-a-host", "http://a.example:80@127.0.0.1:{port}/", api=USERINFO, redirect=KEPT),
    HostileUrl("userinfo-empty", "http://@127.0.0.1:{port}/", api=USERINFO),
    HostileUrl("userinfo-slash", "http://a.example%2f@127.0.0.1:{port}/", api=USERINFO, redirect=KEPT),
    HostileUrl("no-scheme", "//127.0.0.1:{port}/", api=SCHEME),
    HostileUrl("no-scheme-three-slashes", "///127.0.0.1:{port}/", api=SCHEME),
    HostileUrl("no-scheme-backslashes", r"\\127.0.0.1:{port}\x", api=SCHEME),
    HostileUrl("no-scheme-slash-backslash", r"/\127.0.0.1:{port}/", api=SCHEME),
    HostileUrl("backslashes", r"http:\\127.0.0.1:{port}\x", api=INVALID),
    HostileUrl("slash-backslash", r"http:/\127.0.0.1:{port}/", api=INVALID),
    HostileUrl("backslash-after-host", r"http://127.0.0.1:{port}\x", api=INVALID),
    HostileUrl("backslash-then-at", r"http://127.0.0.1:{port}\@a.example/", api=USERINFO),
    HostileUrl("at-behind-backslash", r"http://a.example:{port}\@127.0.0.1:{port}/", api=USERINFO),
    HostileUrl("three-slashes", "http:///127.0.0.1:{port}/", api=NO_HOST),
    HostileUrl("no-slashes", "http:127.0.0.1:{port}/", api=NO_HOST, redirect=ELSEWHERE),
    HostileUrl("no-slashes-other-scheme", "https:127.0.0.1:{port}/", api=NO_HOST),
    HostileUrl("fragment-then-at", "http://127.0.0.1:{port}#@a.example/", reaches="127.0.0.1"),
    HostileUrl("query-then-at", "http://127.0.0.1:{port}?@a.example/", reaches="127.0.0.1"),
    HostileUrl("tab-in-host", "http://127.0.\t0.1:{port}/", api=CHARACTER),
    HostileUrl("tab-in-scheme", "ht\ttp://127.0.0.1:{port}/", api=CHARACTER),
    HostileUrl("space-before", " http://127.0.0.1:{port}/", reaches="127.0.0.1"),
    HostileUrl("nul-in-host", "http://127.0.0.1%00.a.example:{port}/", api=INVALID, redirect=KEPT),
    HostileUrl("line-end-in-host", "http://127.0.0.1%0d%0a.a.example:{port}/", api=INVALID, redirect=KEPT),
    HostileUrl("slash-in-host", "http://127.0.0.1%2f.a.example:{port}/", api=INVALID, redirect=KEPT),
    HostileUrl("five-parts", "http://127.0.0.0.1:{port}/", api=INVALID, redirect=KEPT),
    HostileUrl("part-too-large", "http://256.0.0.1:{port}/", api=INVALID, redirect=KEPT),
    HostileUrl("number-too-large", "http://4294967296:{port}/", api=INVALID, redirect=KEPT),
    HostileUrl("bad-octal", "http://127.0.0.08:{port}/", api=INVALID, redirect=KEPT),
)

SCHEMES = (
    HostileUrl("scheme-file-with-host", "file://127.0.0.1/etc/passwd", api=SCHEME, redirect=KEPT),
    *map(
        scheme,
        (
            "file:///etc/passwd",
            "ftp://127.0.0.1:{port}/",
            "gopher://127.0.0.1:{port}/_GET%20/",
            "dict://127.0.0.1:{port}/info",
            "ldap://127.0.0.1:{port}/",
            "tftp://127.0.0.1:{port}/x",
            "telnet://127.0.0.1:{port}",
            "smb://127.0.0.1:{port}/x",
            "imap://127.0.0.1:{port}/",
            "smtp://127.0.0.1:{port}/",
            "scp://127.0.0.1:{port}/x",
            "sftp://127.0.0.1:{port}/x",
            "rtsp://127.0.0.1:{port}/",
            "mqtt://127.0.0.1:{port}/",
            "ws://127.0.0.1:{port}/",
            "wss://127.0.0.1:{port}/",
            "unix:///var/run/docker.sock",
            "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
            "javascript:alert(1)",
            "data:text/html,x",
            "view-source:http://127.0.0.1:{port}/",
            "jar:http://127.0.0.1:{port}/!/x",
            "blob:http://127.0.0.1:{port}/x",
            "about:blank",
        ),
    ),
)

THEMES = {
    "Spellings of loopback": SPELLINGS,
    "IPv6": IPV6,
    "Ranges and ports": RANGES,
    "Names": NAMES,
    "Confusions": CONFUSIONS,
    "Other schemes": SCHEMES,
}
URLS = tuple(url for urls in THEMES.values() for url in urls)


def tables() -> str:
    """A Markdown table for each theme."""
    parts = []
    for theme, urls in THEMES.items():
        rows = [f"| `{one.name}` | `{ascii(one.url)[1:-1]}` | `{one.api}` | `{one.redirect}` |" for one in urls]
        head = "| case | URL | at the API | in a Location |\n|---|---|---|---|"
        parts.append("\n".join([f"### {theme}", "", head, *rows, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(tables())
