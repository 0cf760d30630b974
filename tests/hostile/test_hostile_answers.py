"""Names, responses, pages and variables that lead a collection to prohibited destinations, or leak secrets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from metadata_inventory.model import destinations
from metadata_inventory.model.capture import FailureCode
from metadata_inventory.model.destinations import DestinationPolicy
from metadata_inventory.service.bootstrap import read_own_addresses
from tests.hostile.conftest import Collector, NoRules, SocketsOnly, Zone, leads_inside
from tests.hostile.trap import ORIGIN, Trap
from tests.odd import server
from tests.odd.http2_server import over_h2
from tests.odd.server import OddServer
from tests.support.origin import Origin, head

INSIDE = ("127.0.0.1",)
OUTSIDE = (ORIGIN,)

# --- names


def test_a_name_that_changes_between_hops_is_refused_on_the_second(collector: Collector, origin: Origin) -> None:
    collector.options["name_cache_ms"] = 0
    collector.resolve = zone = Zone(turns=[OUTSIDE, INSIDE])
    origin.redirect("/", "/next")
    failure = collector.refused(origin.url("/", "turns.example"))
    assert len(failure.exchanges) == 2
    assert len(zone.asked) == 2
    assert origin.count("/next") == 0


def test_a_name_that_changes_is_not_answered_over_its_old_connection(collector: Collector, origin: Origin) -> None:
    collector.options["name_cache_ms"] = 0
    collector.resolve = Zone(turns=[OUTSIDE, INSIDE])
    url = origin.url("/", "turns.example")
    collector.capture(url)
    collector.refused(url)
    assert origin.count("/") == 1


def test_a_name_that_was_allowed_is_not_looked_up_again(collector: Collector, origin: Origin) -> None:
    """Between the decision and the connection there is nobody who could change the answer."""
    collector.options["name_cache_ms"] = 0
    collector.resolve = zone = Zone(turns=[OUTSIDE, INSIDE])
    assert collector.capture(origin.url("/", "turns.example")).exchanges[0].server is not None
    assert zone.asked == ["turns.example"]


@pytest.mark.parametrize(
    "answer",
    [("127.0.0.1", ORIGIN), (ORIGIN, "127.0.0.1"), ("::1", "127.0.0.1", ORIGIN, "10.0.0.1"), ("::ffff:7f00:1", ORIGIN)],
    ids=",".join,
)
def test_of_several_addresses_the_allowed_one_alone_is_dialled(
    collector: Collector, origin: Origin, answer: tuple[str, ...]
) -> None:
    collector.resolve = Zone(mixed=[answer])
    (exchange,) = collector.capture(origin.url("/", "mixed.example")).exchanges
    assert exchange.server is not None
    assert exchange.server.ip == ORIGIN


def test_a_refused_address_is_no_way_out_when_the_allowed_one_does_not_answer(collector: Collector, trap: Trap) -> None:
    collector.resolve = Zone(mixed=[("127.0.0.1", ORIGIN, "::1")])  # nobody listens on ORIGIN
    outcome = collector.collect(f"http://mixed.example:{trap.port}/")
    assert getattr(outcome, "code", None) is FailureCode.CONNECTION_REFUSED


@pytest.mark.parametrize(
    "answer",
    [
        ("127.0.0.1",),
        ("10.66.77.88", "::1"),
        ("::ffff:127.0.0.1",),
        ("64:ff9b::7f00:1",),
        ("2002:7f00:1::",),
        ("fe80::1%lo",),
        ("0.0.0.0",),
        ("::",),
        ("169.254.169.254", "fd00:ec2::254"),
    ],
    ids=",".join,
)
def test_a_name_with_refused_addresses_only_is_refused_and_they_are_not_told(
    collector: Collector, trap: Trap, caplog: pytest.LogCaptureFixture, answer: tuple[str, ...]
) -> None:
    collector.resolve = Zone(inside=[answer])
    with caplog.at_level("DEBUG"):
        failure = collector.refused(f"http://inside.example:{trap.port}/")
    told = msgspec.json.encode(failure).decode() + caplog.text
    assert not [ip for ip in answer if f'"{ip}"' in told or (len(ip) > 2 and ip in told)]


# --- this host's own addresses


@pytest.fixture
def public_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if 127.0.0.1 were a public address of this host: it is what every host has."""
    monkeypatch.setattr(destinations, "REFUSED_IPV4", ())
    destinations._assess.cache_clear()
    yield
    destinations._assess.cache_clear()


@pytest.mark.usefixtures("public_loopback")
def test_an_own_address_is_refused_although_public(collector: Collector, trap: Trap) -> None:
    url = f"http://127.0.0.1:{trap.port}/"
    collector.options["destinations"] = DestinationPolicy.parse([], own_addresses=read_own_addresses())
    collector.refused(url)
    collector.options["destinations"] = SocketsOnly.parse([], own_addresses=read_own_addresses())
    collector.start_anew()
    collector.refused(url)


@pytest.mark.usefixtures("public_loopback")
@pytest.mark.parametrize("host", ["127.0.0.1", ORIGIN, f"[::ffff:{ORIGIN}]", "inside.example"])
def test_an_own_address_that_came_later_is_not_dialled(collector: Collector, trap: Trap, host: str) -> None:
    """Neither what is served there, nor a certificate, nor that a port is closed is told: `refused` sees to it."""
    collector.options["destinations"] = DestinationPolicy.parse([])
    with tls_origin(trap, collector) as origin:
        collector.resolve = Zone(inside=[("127.0.0.1", ORIGIN)])
        collector.refused(f"https://{host}:{trap.port}/")
        collector.refused(f"http://{host}:{trap.port}/")
        assert origin.connections == 0
    collector.refused(f"http://{host}:{trap.port}/")


class BlindToSockets(DestinationPolicy):
    """Does not have it found out whose address it is before a socket is made."""

    def allows_own(self, ip: str, port: int) -> bool:
        return True


@pytest.mark.usefixtures("public_loopback")
def test_an_own_address_that_is_dialled_all_the_same_is_sent_no_request(collector: Collector, trap: Trap) -> None:
    collector.options["destinations"] = BlindToSockets.parse([])
    collector.resolve = leads_inside
    collector.refused(f"http://127.0.0.1:{trap.port}/")
    collector.refused(f"http://a.example:{trap.port}/")
    assert trap.requests() == [b"", b""]


def test_the_own_address_that_others_see_is_refused(collector: Collector, origin: Origin, trap: Trap) -> None:
    for ip in read_own_addresses():
        if "%" not in ip:
            origin.redirect("/", f"http://{f'[{ip}]' if ':' in ip else ip}:{trap.port}/")
            collector.refused(origin.url("/"))


# --- responses


@pytest.mark.parametrize("status", [200, 201, 202, 300, 304, 305, 306, 401, 407, 426, 503])
def test_only_redirects_redirect(collector: Collector, origin: Origin, trap: Trap, status: int) -> None:
    """305 would name a proxy (RFC 9110 §15.4.6); 401 and 407 ask for credentials, which nobody has."""
    inside = f"http://127.0.0.1:{trap.port}/"
    named = [
        ("Location", inside),
        ("Content-Location", inside),
        ("Refresh", f"0; url={inside}"),
        ("Link", f"<{inside}>; rel=preload; as=script, <{inside}>; rel=canonical"),
        ("WWW-Authenticate", "Negotiate, NTLM, Basic realm=x"),
        ("Proxy-Authenticate", "Basic realm=x"),
        ("X-Accel-Redirect", inside),
        ("SourceMap", inside),
        ("Report-To", f'{{"max_age": 9, "endpoints": [{{"url": "{inside}"}}]}}'),
        ("NEL", '{"report_to": "default", "max_age": 9, "success_fraction": 1}'),
        ("Content-Length", "0"),
    ]
    origin.page("/", b"", status, named)
    (exchange,) = collector.capture(origin.url("/")).exchanges
    assert exchange.response is not None
    assert exchange.response.status_code == status
    assert origin.count("/") == 1


def test_early_hints_are_not_followed(collector: Collector, origin: Origin, trap: Trap) -> None:
    hint = f"<http://127.0.0.1:{trap.port}/>; rel=preload; as=style, <http://127.0.0.1:{trap.port}>; rel=preconnect"
    origin.answer("/", head(103, [("Link", hint)]), head(200, [("Content-Length", "2")]), b"ok", keep_alive=True)
    assert len(collector.capture(origin.url("/")).exchanges) == 1


PAGE = """<!DOCTYPE html SYSTEM "{inside}dtd" [<!ENTITY e SYSTEM "{inside}entity"><!ENTITY f SYSTEM "file:///etc/passwd">
<!ENTITY % p SYSTEM "{inside}parameter"> %p;]>
<?xml-stylesheet href="{inside}xsl" type="text/xsl"?>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:xi="http://www.w3.org/2001/XInclude" manifest="{inside}manifest">
<head><title>&e;&f;</title><base href="{inside}"/><meta http-equiv="refresh" content="0;url={inside}refresh"/>
<link rel="canonical" href="{inside}c"/><link rel="icon" href="{inside}i"/><link rel="preload" href="{inside}p"/>
<link rel="dns-prefetch" href="{inside}"/><link rel="stylesheet" href="{inside}s"/><script src="{inside}j"></script>
<meta property="og:image" content="{inside}o"/></head>
<body background="{inside}b"><xi:include href="{inside}x"/><img src="{inside}g"/><iframe src="{inside}f"></iframe>
</body></html>"""


@pytest.mark.parametrize("media_type", ["text/html", "application/xhtml+xml", "application/xml", "image/svg+xml"])
def test_a_page_is_read_and_nothing_that_it_names(
    collector: Collector, origin: Origin, trap: Trap, media_type: str
) -> None:
    page = PAGE.replace("{inside}", f"http://127.0.0.1:{trap.port}/")
    origin.page("/", page, headers=[("Content-Type", media_type)])
    capture = collector.capture(origin.url("/"))
    assert len(capture.exchanges) == 1
    assert b"root:" not in msgspec.json.encode(capture.summary)


def test_cookies_for_a_whole_domain_are_not_sent_inside(collector: Collector, origin: Origin) -> None:
    collector.resolve = Zone(**{"a.site": [OUTSIDE], "b.site": [INSIDE]})
    cookie = ("Set-Cookie", "a=1; Domain=site.example; Path=/")
    origin.redirect("/", origin.url("/next", "b.site.example"), headers=[cookie])
    failure = collector.refused(origin.url("/", "a.site.example"))
    assert failure.exchanges[0].response is not None
    assert failure.exchanges[0].response.set_cookies[0].domain == "site.example"


# --- other protocols


def tls_origin(trap: Trap, collector: Collector) -> Origin:
    origin = Origin(addresses=[ORIGIN], names=["a.example"], tls=True)
    origin.port = trap.port
    collector.resolve = Zone(a=[OUTSIDE])
    return origin


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("allow_http3", [False, True])
def test_an_alternative_service_inside_is_not_used(
    collector: Collector, trap: Trap, *, tls: bool, allow_http3: bool
) -> None:
    with tls_origin(trap, collector) if tls else Origin(addresses=[ORIGIN]) as origin:
        collector.resolve = Zone(a=[OUTSIDE])
        collector.options |= {
            "destinations": DestinationPolicy.parse([f"{ORIGIN}:{origin.port}"]),
            "allow_http3": allow_http3,
            "ca_file": origin.ca_file,
        }
        services = ", ".join(f'{alpn}="127.0.0.1:{trap.port}"; ma=3600; persist=1' for alpn in ("h3", "h2", "http/1.1"))
        origin.page("/", headers=[("Alt-Svc", services), ("Connection", "close")])
        for _ in range(2):
            (exchange,) = collector.capture(origin.url("/", "a.example")).exchanges
            assert exchange.server is not None
            assert exchange.server.ip == ORIGIN
        assert origin.count("/") == 2


def test_strict_transport_security_changes_no_later_url(collector: Collector, trap: Trap) -> None:
    with tls_origin(trap, collector) as secure, Origin(addresses=[ORIGIN]) as plain:
        collector.options |= {"destinations": DestinationPolicy.parse([ORIGIN]), "ca_file": secure.ca_file}
        secure.page("/", headers=[("Strict-Transport-Security", "max-age=3600; includeSubDomains")])
        collector.capture(secure.url("/", "a.example"))
        assert collector.capture(plain.url("/", "a.example")).final_url.startswith("http://")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "a.example"])
def test_no_datagram_is_sent_inside(collector: Collector, trap: Trap, host: str) -> None:
    collector.resolve = leads_inside
    collector.options |= {"destinations": SocketsOnly(), "allow_http3": True}
    collector.refused(f"https://{host}:{trap.port}/")


def test_the_trap_is_laid_for_datagrams(trap: Trap) -> None:
    collector = Collector()
    collector.options |= {"destinations": NoRules(), "allow_http3": True}
    try:
        assert collector.springs(f"https://127.0.0.1:{trap.port}/", trap)
    finally:
        collector.close()


def test_a_redirect_over_http2_does_not_lead_inside(
    collector: Collector, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = f"http://127.0.0.1:{trap.port}/".encode()
    monkeypatch.setattr(server, "LISTENS_ON", ORIGIN)
    collector.options |= {"destinations": DestinationPolicy.parse([ORIGIN]), "tls_verify": "record"}
    serve = over_h2(
        lambda http2, stream: http2.headers(stream, [(b":status", b"302"), (b"location", inside)], last=True)
    )
    with OddServer(serve) as odd:
        failure = collector.refused(f"https://{ORIGIN}:{odd.port}/")
    response = failure.exchanges[0].response
    assert response is not None
    assert response.http_version == "HTTP/2"


# --- what stands around the process


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize("tls", [False, True])
def test_proxy_variables_are_ignored(
    collector: Collector, trap: Trap, monkeypatch: pytest.MonkeyPatch, *, tls: bool, scheme: str
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"{scheme}://user:secret@127.0.0.1:{trap.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with tls_origin(trap, collector) if tls else Origin(addresses=[ORIGIN]) as origin:
        collector.resolve = Zone(a=[OUTSIDE])
        collector.options |= {"destinations": DestinationPolicy.parse([ORIGIN]), "ca_file": origin.ca_file}
        collector.capture(origin.url("/", "a.example"))
        assert "proxy-authorization" not in origin.requests[0].headers


def test_credentials_in_the_home_directory_are_not_sent(
    collector: Collector, origin: Origin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text(
        "machine a.example login user password secret\ndefault login user password secret\n"
    )
    (tmp_path / ".curlrc").write_text('header = "X-Secret: secret"\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("CURL_HOME", str(tmp_path))
    collector.resolve = Zone(a=[OUTSIDE])
    origin.page("/", b"", 401, [("WWW-Authenticate", "Basic realm=x")])
    collector.capture(origin.url("/", "a.example"))
    (request,) = origin.requests
    assert "authorization" not in request.headers
    assert b"ecret" not in request.raw


def test_strangers_are_sent_these_headers_and_no_others(collector: Collector, origin: Origin) -> None:
    collector.resolve = Zone(a=[OUTSIDE])
    collector.capture(origin.url("/", "a.example"))
    (request,) = origin.requests
    assert set(request.headers) == {"host", "user-agent", "accept", "accept-encoding"}
