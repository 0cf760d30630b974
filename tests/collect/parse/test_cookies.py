"""Set-Cookie lines and the cookie jar, by 6265bis. `shop.example` stands for a registrable domain."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metadata_inventory.collect.parse import set_cookie
from metadata_inventory.collect.parse.cookie_jar import MAX_COOKIES, MAX_COOKIES_PER_DOMAIN, CookieJar
from metadata_inventory.collect.parse.set_cookie import REFUSALS, CookieFlaw, parse_cookie_date, parse_set_cookie
from metadata_inventory.model.capture import SetCookie

NOW = datetime(2030, 5, 17, 12, tzinfo=UTC)
SECURE = "https://www.shop.example/a/b?q#f"
PLAIN = "http://www.shop.example/a/b"
PAST, FUTURE = "Thu, 01 Jan 1970 00:00:00 GMT", "Wed, 01 Jan 2031 00:00:00 GMT"


def parse(raw: bytes | str, url: str = SECURE) -> SetCookie:
    return parse_set_cookie(raw.encode() if isinstance(raw, str) else raw, url, NOW)


def a_jar(*lines: str, url: str = SECURE) -> CookieJar:
    jar = CookieJar()
    for line in lines:
        jar.receive(parse(line, url), url, NOW)
    return jar


@pytest.mark.parametrize(
    ("raw", "name", "value"),
    [
        pytest.param("a=b", "a", "b", id="plain"),
        pytest.param(" a\t=  b ;Path=/", "a", "b", id="spaces around"),
        pytest.param("a=b=c", "a", "b=c", id="the first = divides"),
        pytest.param('a="b c"', "a", '"b c"', id="quotes are kept"),
        pytest.param("a=%20", "a", "%20", id="percent stays"),
        pytest.param("a=", "a", "", id="no value"),
        pytest.param("value", "", "value", id="no name"),
        pytest.param("=value", "", "value", id="empty name"),
        pytest.param("a=ü", "a", "ü", id="utf-8"),
    ],
)
def test_name_and_value(raw: str, name: str, value: str) -> None:
    cookie = parse(raw)
    assert (cookie.name, cookie.value, cookie.raw) == (name, value, raw)


def test_all_attributes_are_read_without_regard_to_case() -> None:
    cookie = parse(
        "a=b; EXPIRES=Fri, 17 May 2030 12:30:00 GMT; max-age=60; Domain=.Shop.Example; PATH=/x; secure;"
        " HTTPOnly; samesite=LAX; Partitioned"
    )
    assert cookie == SetCookie(
        name="a",
        value="b",
        domain="shop.example",
        path="/x",
        expires=NOW + timedelta(minutes=30),
        max_age=60,
        secure=True,
        http_only=True,
        same_site="Lax",
        partitioned=True,
        host_only=False,
        raw=cookie.raw,
    )


def test_bare_cookie_is_host_only_with_the_default_path() -> None:
    cookie = parse("a=b")
    assert (cookie.domain, cookie.host_only, cookie.path) == ("www.shop.example", True, "/a")
    assert (cookie.expires, cookie.max_age, cookie.same_site, cookie.flaws) == (None, None, None, ())


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://h.example", "/"),
        ("https://h.example/", "/"),
        ("https://h.example/a", "/"),
        ("https://h.example/a/", "/a"),
        ("https://h.example/a/b/c?d/e", "/a/b"),
    ],
)
def test_default_path(url: str, path: str) -> None:
    assert parse("a=b", url).path == path


@pytest.mark.parametrize(
    ("raw", "field", "value"),
    [
        pytest.param("a=b; Path=/x; Path=/y", "path", "/y", id="path"),
        pytest.param("a=b; Path=/x; Path=y", "path", "/a", id="path, a bad one too"),
        pytest.param("a=b; Max-Age=1; Max-Age=2", "max_age", 2, id="max-age"),
        pytest.param("a=b; Max-Age=1; Max-Age=x", "max_age", 1, id="max-age, not a bad one"),
        pytest.param(
            f"a=b; Expires={PAST}; Expires={FUTURE}", "expires", datetime(2031, 1, 1, tzinfo=UTC), id="expires"
        ),
        pytest.param(
            f"a=b; Expires={FUTURE}; Expires=x",
            "expires",
            datetime(2031, 1, 1, tzinfo=UTC),
            id="expires, not a bad one",
        ),
        pytest.param("a=b; Domain=other.example; Domain=shop.example", "domain", "shop.example", id="domain"),
        pytest.param("a=b; Domain=shop.example; Domain=", "host_only", True, id="domain, an empty one too"),
        pytest.param("a=b; SameSite=Strict; SameSite=Lax", "same_site", "Lax", id="same-site"),
        pytest.param("a=b; SameSite=Strict; SameSite=x", "same_site", None, id="same-site, a bad one too"),
    ],
)
def test_last_attribute_of_a_kind_counts(raw: str, field: str, value: object) -> None:
    assert getattr(parse(raw), field) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37", id="IMF-fixdate"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06T08:49:37", id="RFC 850"),
        pytest.param("Sun Nov  6 08:49:37 1994", "1994-11-06T08:49:37", id="asctime"),
        pytest.param("6 nOvEmBeR 1994 8:49:37", "1994-11-06T08:49:37", id="month by three letters"),
        pytest.param("1994 08:49:37 6 Nov", "1994-11-06T08:49:37", id="any order"),
        pytest.param("06 Nov 1994 08:49:37 +0200", "1994-11-06T08:49:37", id="zone is ignored"),
        pytest.param("06th Nov 1994AD 08:49:37pm", "1994-11-06T08:49:37", id="trailing letters"),
        pytest.param("1 Jan 69 0:0:0", "2069-01-01T00:00:00", id="69 is 2069"),
        pytest.param("1 Jan 70 0:0:0", "1970-01-01T00:00:00", id="70 is 1970"),
        pytest.param("1 Jan 1601 0:0:0", "1601-01-01T00:00:00", id="first year"),
        pytest.param("31 Dec 9999 23:59:59", "9999-12-31T23:59:59", id="last year"),
        pytest.param("1 Jan 1600 0:0:0", None, id="too early"),
        pytest.param("30 Feb 2000 0:0:0", None, id="no such day"),
        pytest.param("0 Jan 2000 0:0:0", None, id="day 0"),
        pytest.param("1 Jan 2000 24:0:0", None, id="hour 24"),
        pytest.param("1 Jan 2000 0:60:0", None, id="minute 60"),
        pytest.param("1 Jan 2000 0:0:60", None, id="leap second"),
        pytest.param("1 Jan 2000 0:0:123", None, id="three digits of seconds"),
        pytest.param("1 Jan 12345 0:0:0", None, id="five digits of year"),
        pytest.param("1 Jan 0:0:0", None, id="no year"),
        pytest.param("Jan 2000", None, id="no time"),
        pytest.param("", None, id="empty"),
        pytest.param("0", None, id="zero"),
    ],
)
def test_cookie_date(text: str, expected: str | None) -> None:
    date = parse_cookie_date(text.encode())
    assert date == (datetime.fromisoformat(expected).replace(tzinfo=UTC) if expected else None)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("0", 0),
        ("-1", -1),
        ("0060", 60),
        ("34560000", 34_560_000),
        ("34560001", 34_560_000),
        ("9" * 1024, 34_560_000),
        ("-" + "9" * 1000, -34_560_000),
        ("+1", None),
        ("1.5", None),
        ("1 s", None),
        ("-", None),
        ("", None),
        ("٣", None),
    ],
)
def test_max_age(asked: str, kept: int | None) -> None:
    cookie = parse(f"a=b; Max-Age={asked}")
    assert cookie.max_age == kept
    assert (CookieFlaw.BAD_MAX_AGE in cookie.flaws) == (kept is None)


@pytest.mark.parametrize(
    ("raw", "url", "flaws"),
    [
        pytest.param(b"a=\xfc", SECURE, {"not_utf8"}, id="not utf-8"),
        pytest.param("v", SECURE, {"empty_name"}, id="no name"),
        pytest.param("a=b; Path=/" + "x" * 1024, SECURE, {"attribute_too_long"}, id="attribute of 1,025 octets"),
        pytest.param("a=b; Path=/" + "x" * 1023, SECURE, set(), id="attribute of 1,024 octets"),
        pytest.param("a=b; Priority=High", SECURE, {"unknown_attribute"}, id="unknown attribute"),
        pytest.param("a=b; ; ;", SECURE, set(), id="empty attributes"),
        pytest.param("a=b; Expires=tomorrow", SECURE, {"bad_expires"}, id="expires"),
        pytest.param("a=b; Path=x", SECURE, {"bad_path"}, id="path"),
        pytest.param("a=b; SameSite=Never", SECURE, {"bad_same_site"}, id="same-site"),
        pytest.param("a=b; Max-Age=99999999", SECURE, {"lifetime_capped"}, id="max-age over 400 days"),
        pytest.param("a=b; Expires=1 Jan 2035 0:0:0", SECURE, {"lifetime_capped"}, id="expires over 400 days"),
        pytest.param("a=b; Expires=1 Jan 2035 0:0:0; Max-Age=1", SECURE, set(), id="max-age goes before"),
        pytest.param("a=b\x00", SECURE, {"control_character"}, id="NUL"),
        pytest.param("a=b; x=\x7f", SECURE, {"control_character", "unknown_attribute"}, id="DEL in an attribute"),
        pytest.param("a=b\tc", SECURE, set(), id="tab"),
        pytest.param("a=" + "x" * 4095, SECURE, set(), id="4,096 octets"),
        pytest.param("a=" + "x" * 4096, SECURE, {"too_long"}, id="4,097 octets"),
        pytest.param("a=" + "ü" * 2048, SECURE, {"too_long"}, id="octets, not characters"),
        pytest.param("", SECURE, {"empty"}, id="empty"),
        pytest.param(" = ;Secure", SECURE, {"empty"}, id="nothing around ="),
        pytest.param("a=b; Domain=bücher.example", SECURE, {"bad_domain"}, id="domain beyond ascii"),
        pytest.param("a=b; Domain=example", SECURE, {"public_suffix"}, id="domain is a suffix"),
        pytest.param("a=b; Domain=co.uk", "https://www.shop.co.uk/", {"public_suffix"}, id="suffix of two labels"),
        pytest.param("a=b; Domain=github.io", "https://me.github.io/", {"public_suffix"}, id="private suffix"),
        pytest.param("a=b; Domain=github.io", "https://github.io/", set(), id="the suffix itself"),
        pytest.param("a=b; Domain=.uk.", "https://shop.uk/", {"public_suffix"}, id="suffix among dots"),
        pytest.param("a=b; Domain=..uk", "https://shop..uk/", {"public_suffix"}, id="suffix behind dots"),
        pytest.param("a=b; Domain=other.example", SECURE, {"domain_mismatch"}, id="another domain"),
        pytest.param("a=b; Domain=x.www.shop.example", SECURE, {"domain_mismatch"}, id="below the host"),
        pytest.param("a=b; Domain=op.example", SECURE, {"domain_mismatch"}, id="no label boundary"),
        pytest.param("a=b; Domain=0.0.1", "https://127.0.0.1/", {"domain_mismatch"}, id="part of an address"),
        pytest.param("a=b; Domain=127.0.0.1", "https://127.0.0.1/", set(), id="the address"),
        pytest.param("a=b; Domain=[::1]", "https://[::1]/", set(), id="an IPv6 address"),
        pytest.param("a=b; Secure", PLAIN, {"secure_on_insecure_origin"}, id="secure over http"),
        pytest.param("a=b; SameSite=None", SECURE, {"same_site_none_insecure"}, id="none without secure"),
        pytest.param("a=b; SameSite=None; Secure", SECURE, set(), id="none with secure"),
        pytest.param("a=b; Partitioned", SECURE, {"partitioned_insecure"}, id="partitioned without secure"),
        pytest.param("__Secure-a=b", SECURE, {"bad_prefix"}, id="__Secure- without secure"),
        pytest.param("__SECURE-a=b; Secure", SECURE, set(), id="__SECURE- with secure"),
        pytest.param("__Host-a=b; Secure; Path=/", SECURE, set(), id="__Host- as it must be"),
        pytest.param("__Host-a=b; Secure", "https://h.example/", {"bad_prefix"}, id="__Host- without path"),
        pytest.param("__Host-a=b; Secure; Path=/a", SECURE, {"bad_prefix"}, id="__Host- with another path"),
        pytest.param(
            "__host-a=b; Secure; Path=/; Domain=www.shop.example", SECURE, {"bad_prefix"}, id="__host- with domain"
        ),
        pytest.param("__Http-a=b; Secure", SECURE, {"bad_prefix"}, id="__Http- without httponly"),
        pytest.param("__Http-a=b; Secure; HttpOnly", SECURE, set(), id="__Http- as it must be"),
        pytest.param("__Host-Http-a=b; Secure; Path=/", SECURE, {"bad_prefix"}, id="__Host-Http- without httponly"),
        pytest.param("=__secure-a", SECURE, {"nameless_prefix", "empty_name"}, id="prefix in a nameless value"),
        pytest.param("__Host-a=b; Path=/; Secure", PLAIN.replace("/a/b", ""), {"secure_on_insecure_origin"}, id="http"),
    ],
)
def test_flaws(raw: str | bytes, url: str, flaws: set[str]) -> None:
    assert set(parse(raw, url).flaws) == flaws


def test_a_refused_domain_is_kept_as_it_was_sent() -> None:
    cookie = parse("a=b; Domain=.Other.Example")
    assert (cookie.domain, cookie.host_only) == ("other.example", False)


def test_line_that_is_not_utf8_is_read_as_latin_1_throughout() -> None:
    cookie = parse(b"n\xfc=\xc3\xbc; Path=/\xe9")
    assert (cookie.name, cookie.value, cookie.path, cookie.raw) == ("nü", "Ã¼", "/é", "nü=Ã¼; Path=/é")


def test_flaws_are_plain_strings_in_a_fixed_order() -> None:
    flaws = parse(b"\xfc; Path=x; SameSite=None", PLAIN).flaws
    assert flaws == ("not_utf8", "empty_name", "bad_path", "same_site_none_insecure")
    assert {type(flaw) for flaw in flaws} == {str}


def test_every_flaw_carries_a_line_of_meaning_that_says_whether_it_refuses() -> None:
    lines = inspect.getsource(set_cookie.CookieFlaw).splitlines()
    for flaw in CookieFlaw:
        line = next(line for line in lines if line.strip().startswith(f"{flaw.name} ="))
        assert f'"{flaw.value}"  # ' in line
        assert ("# refused: " in line) == (flaw in REFUSALS)


@given(raw=st.binary(max_size=300), url=st.one_of(st.sampled_from([SECURE, PLAIN, "", "\ud800"]), st.text(max_size=40)))
def test_no_line_raises_and_what_is_kept_is_sent_back_octet_by_octet(raw: bytes, url: str) -> None:
    cookie = parse(raw, url)
    assert cookie.raw.encode("latin-1" if "not_utf8" in cookie.flaws else "utf-8") == raw
    jar = CookieJar()
    if jar.receive(cookie, url, NOW) and (sent := jar.octets_for(url, NOW)) is not None:
        assert all(part in raw for part in sent.split(b"=", 1))


ATTRIBUTES = st.lists(
    st.sampled_from(
        [
            "Secure",
            "HttpOnly",
            "Path=/",
            "Path=/a",
            "Path=x",
            "Domain=shop.example",
            "Domain=example",
            "Max-Age=5",
            "Max-Age=0",
            "Max-Age=x",
            "Expires=Fri, 17 May 2030 13:00:00 GMT",
            "Expires=x",
            "SameSite=None",
            "SameSite=Lax",
            "Partitioned",
            "Foo=bar",
        ]
    )
)


@given(
    name=st.sampled_from(["a", "__Host-a", "__Secure-a", ""]),
    attributes=ATTRIBUTES,
    url=st.sampled_from([SECURE, PLAIN]),
)
def test_jar_stores_exactly_what_has_no_refusing_flaw(name: str, attributes: list[str], url: str) -> None:
    cookie = parse("; ".join([f"{name}=v", *attributes]), url)
    assert CookieJar().receive(cookie, url, NOW) == REFUSALS.isdisjoint(cookie.flaws)


@pytest.mark.parametrize(
    ("line", "url", "sent"),
    [
        pytest.param("a=b", "https://www.shop.example/a/x", True, id="same host, below the path"),
        pytest.param("a=b", "https://www.shop.example/a", True, id="the path itself"),
        pytest.param("a=b", "https://www.shop.example/ab", False, id="no path boundary"),
        pytest.param("a=b", "https://www.shop.example/", False, id="above the path"),
        pytest.param("a=b; Path=/", "https://shop.example/", False, id="host-only above"),
        pytest.param("a=b; Path=/", "https://x.www.shop.example/", False, id="host-only below"),
        pytest.param("a=b; Path=/; Domain=shop.example", "https://shop.example/", True, id="domain itself"),
        pytest.param("a=b; Path=/; Domain=shop.example", "https://x.y.shop.example/", True, id="below the domain"),
        pytest.param("a=b; Path=/; Domain=shop.example", "https://myshop.example/", False, id="no label boundary"),
        pytest.param("a=b; Path=/; Secure", "http://www.shop.example/", False, id="secure over http"),
        pytest.param("a=b; Path=/", "http://www.shop.example:8080/", True, id="another port and scheme"),
        pytest.param(
            "a=b; Path=/; SameSite=Strict", "https://www.shop.example/", True, id="strict: our own navigation"
        ),
        pytest.param("a=b; Path=/; Max-Age=0", "https://www.shop.example/", False, id="expired at once"),
        pytest.param("a=b; Path=/; Secure; Partitioned", "https://www.shop.example/", True, id="partitioned"),
    ],
)
def test_what_a_request_carries(line: str, url: str, sent: bool) -> None:
    assert a_jar(line).octets_for(url, NOW) == (b"a=b" if sent else None)


def test_longer_paths_go_first_then_older_cookies() -> None:
    jar = a_jar("c=1; Path=/", "a=2; Path=/a/b", "d=3; Path=/a", "b=4; Path=/")
    assert jar.octets_for("https://www.shop.example/a/b", NOW) == b"a=2; d=3; c=1; b=4"


def test_replaced_cookie_keeps_its_age() -> None:
    jar = a_jar("a=1", "b=2", "a=3")
    assert jar.octets_for(SECURE, NOW) == b"a=3; b=2"


def test_cookies_that_differ_in_domain_path_or_partition_live_side_by_side() -> None:
    jar = a_jar("a=1", "a=2; Path=/", "a=3; Domain=shop.example", "a=4; Secure; Partitioned")
    assert jar.octets_for(SECURE, NOW) == b"a=1; a=3; a=4; a=2"


def test_expired_cookie_removes_its_namesake() -> None:
    assert a_jar("a=1", "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT").octets_for(SECURE, NOW) is None


def test_max_age_goes_before_expires_and_both_end_within_400_days() -> None:
    jar = a_jar("a=1; Max-Age=60; Expires=Fri, 01 Jan 2100 00:00:00 GMT", "b=2; Expires=Fri, 01 Jan 2100 00:00:00 GMT")
    assert jar.octets_for(SECURE, NOW + timedelta(seconds=59)) == b"a=1; b=2"
    assert jar.octets_for(SECURE, NOW + timedelta(seconds=60)) == b"b=2"
    assert jar.octets_for(SECURE, NOW + timedelta(days=400)) is None


def test_a_cookie_that_came_without_tls_does_not_hide_a_secure_one() -> None:
    jar = a_jar("a=safe; Secure; Path=/a; Domain=shop.example")
    assert not jar.receive(parse("a=evil; Path=/a/b", PLAIN), PLAIN, NOW)
    assert jar.receive(parse("a=other; Path=/", PLAIN), PLAIN, NOW)
    assert jar.octets_for(SECURE, NOW) == b"a=safe; a=other"


def test_nameless_cookie_is_sent_as_its_value() -> None:
    assert a_jar("v").octets_for(SECURE, NOW) == b"v"


def test_octets_are_sent_as_they_came_utf8_or_not() -> None:
    jar = CookieJar()
    for raw in (b"a=\xfc", "b=ü".encode()):
        jar.receive(parse(raw), SECURE, NOW)
    assert jar.octets_for(SECURE, NOW) == b"a=\xfc; b=\xc3\xbc"


def test_a_domain_with_too_many_cookies_loses_insecure_ones_first_then_the_least_recently_used() -> None:
    jar = a_jar("keep=1; Secure", *(f"n{i}=x" for i in range(MAX_COOKIES_PER_DOMAIN)))
    sent = (jar.octets_for(SECURE, NOW) or b"").split(b"; ")
    assert len(sent) == MAX_COOKIES_PER_DOMAIN
    assert b"keep=1" in sent
    assert b"n0=x" not in sent


def test_jar_is_bounded_over_all_domains() -> None:
    jar = CookieJar()
    for i in range(MAX_COOKIES + 20):
        url = f"https://h{i}.example/"
        jar.receive(parse("a=b", url), url, NOW)
    held = [i for i in range(MAX_COOKIES + 20) if jar.octets_for(f"https://h{i}.example/", NOW)]
    assert held == list(range(20, MAX_COOKIES + 20))
