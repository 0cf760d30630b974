"""The URL rules: what is accepted and as what, what is refused and under which code."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address
from urllib.parse import unquote_to_bytes

import ada_url
import pycurl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metadata_inventory import errors
from metadata_inventory.model.urls import MAX_LENGTH, normalize, recall, resolve

LABEL_63 = "a" * 63
NAME_253 = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])


def libcurl_takes(href: str) -> bool:
    """Whether libcurl parses the URL. A proxy that is never dialled stands before it, so nothing is looked up."""
    transfer = pycurl.Curl()
    transfer.setopt(pycurl.URL, href)
    transfer.setopt(pycurl.PROXY, "http://127.0.0.1:1")
    transfer.setopt(pycurl.OPENSOCKETFUNCTION, lambda _purpose, _address: pycurl.SOCKET_BAD)
    with pytest.raises(pycurl.error) as refusal:
        transfer.perform()
    transfer.close()
    code = refusal.value.args[0]
    assert code in (pycurl.E_URL_MALFORMAT, pycurl.E_COULDNT_CONNECT)
    return bool(code == pycurl.E_COULDNT_CONNECT)


@pytest.mark.parametrize(
    ("text", "href"),
    [
        # what is the same page
        pytest.param("http://example.com", "http://example.com/", id="empty-path"),
        pytest.param("HTTP://EXAMPLE.Com/A", "http://example.com/A", id="case-of-scheme-and-host"),
        pytest.param("http://example.com:80/", "http://example.com/", id="default-port-http"),
        pytest.param("https://example.com:443/", "https://example.com/", id="default-port-https"),
        pytest.param("http://example.com:/", "http://example.com/", id="empty-port"),
        pytest.param("http://example.com:08080/", "http://example.com:8080/", id="port-with-zero"),
        pytest.param("http://example.com/#part", "http://example.com/", id="fragment"),
        pytest.param("http://example.com/?q#a?b#c", "http://example.com/?q", id="fragment-with-marks"),
        pytest.param("  http://example.com/ ", "http://example.com/", id="outer-spaces"),
        pytest.param("http://example.com/a/./b/../c", "http://example.com/a/c", id="dot-segments"),
        pytest.param("http://example.com/a/%2E%2e/c", "http://example.com/c", id="dot-segments-encoded"),
        pytest.param("http://example.com/a/.%2e/c", "http://example.com/c", id="dot-segments-half-encoded"),
        pytest.param("http://example.com/../../c", "http://example.com/c", id="dot-segments-above-root"),
        pytest.param("http://example.com/a\\b", "http://example.com/a/b", id="backslash-in-path"),
        pytest.param("http://example.com/?a\\b", "http://example.com/?a\\b", id="backslash-in-query-stays"),
        # percent-encoding
        pytest.param("http://example.com/%7Eu%41%2d%5F%2e%39", "http://example.com/~uA-_.9", id="unreserved-decoded"),
        pytest.param("http://example.com/?%7e=%61", "http://example.com/?~=a", id="unreserved-decoded-in-query"),
        pytest.param("http://example.com/%c3%a9%2f", "http://example.com/%C3%A9%2F", id="upper-case-hex"),
        pytest.param("http://example.com/é?é", "http://example.com/%C3%A9?%C3%A9", id="non-ascii"),
        pytest.param("http://example.com/%21%26%3d%27", "http://example.com/%21%26%3D%27", id="reserved-stays-encoded"),
        pytest.param("http://example.com/!&=+", "http://example.com/!&=+", id="reserved-stays-bare"),
        pytest.param("http://example.com/%00%0a%20", "http://example.com/%00%0A%20", id="encoded-controls"),
        pytest.param("http://example.com/100%", "http://example.com/100%25", id="bare-percent-last"),
        pytest.param("http://example.com/%zz?%4", "http://example.com/%25zz?%254", id="bare-percent"),
        pytest.param("http://example.com/%2%65", "http://example.com/%252e", id="no-escape-made-by-decoding"),
        pytest.param("http://example.com/%%34%31", "http://example.com/%2541", id="no-escape-made-by-two"),
        pytest.param("http://example.com/a/%2%65%2%65/b", "http://example.com/a/%252e%252e/b", id="no-dots-made"),
        pytest.param("http://example.com/%2541", "http://example.com/%2541", id="encoded-percent-stays"),
        # what may be another page
        pytest.param("http://example.com/a/", "http://example.com/a/", id="trailing-slash"),
        pytest.param("http://example.com//a//b", "http://example.com//a//b", id="double-slashes"),
        pytest.param("http://example.com/?", "http://example.com/?", id="empty-query"),
        pytest.param("http://example.com?q", "http://example.com/?q", id="query-without-path"),
        pytest.param("http://example.com/?b=1&a=2&b=&&", "http://example.com/?b=1&a=2&b=&&", id="query-order"),
        pytest.param("http://example.com/?utm_source=x", "http://example.com/?utm_source=x", id="tracking-query"),
        pytest.param("http://example.com/?a=1+2", "http://example.com/?a=1+2", id="plus"),
        pytest.param("http://example.com/a@b:c?d@e", "http://example.com/a@b:c?d@e", id="at-sign-after-authority"),
        pytest.param("http://example.com./", "http://example.com./", id="trailing-dot"),
        pytest.param("http://www.example.com/", "http://www.example.com/", id="www"),
        # hosts
        pytest.param("http://bücher.example/", "http://xn--bcher-kva.example/", id="idna"),
        pytest.param("http://faß.example/", "http://xn--fa-hia.example/", id="idna-non-transitional"),
        pytest.param("http://ex%61mple.com/", "http://example.com/", id="host-percent-encoded"),
        pytest.param("http://ａ。example/", "http://a.example/", id="host-full-width"),
        pytest.param("http://a_b.-c-.example/", "http://a_b.-c-.example/", id="host-underscore-and-hyphens"),
        pytest.param(f"http://{LABEL_63}.example/", f"http://{LABEL_63}.example/", id="label-of-63"),
        pytest.param(f"http://{NAME_253}/", f"http://{NAME_253}/", id="name-of-253"),
        pytest.param(f"http://{NAME_253}./", f"http://{NAME_253}./", id="name-of-253-with-dot"),
        pytest.param("http://2130706433/", "http://127.0.0.1/", id="ipv4-decimal"),
        pytest.param("http://017700000001/", "http://127.0.0.1/", id="ipv4-octal"),
        pytest.param("http://0x7f.1/", "http://127.0.0.1/", id="ipv4-hex-short"),
        pytest.param("http://１２７。0.0.%31/", "http://127.0.0.1/", id="ipv4-full-width"),
        pytest.param("http://127.0.0.1./", "http://127.0.0.1/", id="ipv4-trailing-dot"),
        pytest.param("http://[0:0::0001]/", "http://[::1]/", id="ipv6-short-form"),
        pytest.param("http://[::FFFF:127.0.0.1]/", "http://[::ffff:7f00:1]/", id="ipv6-mapped"),
    ],
)
def test_text_is_normalized(text: str, href: str) -> None:
    assert normalize(text).href == href
    assert normalize(href).href == href


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port"),
    [
        pytest.param("http://Example.com", "http", "example.com", 80, id="http"),
        pytest.param("https://example.com", "https", "example.com", 443, id="https"),
        pytest.param("https://example.com:80", "https", "example.com", 80, id="the-other-default-port"),
        pytest.param("http://example.com:65535", "http", "example.com", 65535, id="highest-port"),
        pytest.param("http://example.com:0", "http", "example.com", 0, id="port-zero-is-for-the-policy-to-refuse"),
        pytest.param("http://[2001:DB8::1]:8080/", "http", "2001:db8::1", 8080, id="ipv6-without-brackets"),
        pytest.param("http://example.com.:81/", "http", "example.com.", 81, id="trailing-dot"),
    ],
)
def test_parts_are_what_is_dialled(text: str, scheme: str, host: str, port: int) -> None:
    url = normalize(text)
    assert (url.scheme, url.host, url.port) == (scheme, host, port)


def test_id_is_the_sha256_of_the_normalized_url() -> None:
    url = normalize("HTTP://example.com/%7ea")
    assert url.id == hashlib.sha256(b"http://example.com/~a").hexdigest()
    assert url.id == normalize("http://example.com/~a#b").id != normalize("http://example.com/~a/").id


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("", errors.UrlSchemeUnsupported, id="empty"),
        pytest.param("example.com", errors.UrlSchemeUnsupported, id="no-scheme"),
        pytest.param("example.com:80/", errors.UrlSchemeUnsupported, id="host-and-port"),
        pytest.param("//example.com/", errors.UrlSchemeUnsupported, id="scheme-relative"),
        pytest.param("/path", errors.UrlSchemeUnsupported, id="path"),
        pytest.param("://example.com", errors.UrlSchemeUnsupported, id="empty-scheme"),
        pytest.param("ftp://example.com/", errors.UrlSchemeUnsupported, id="ftp"),
        pytest.param("file:///etc/passwd", errors.UrlSchemeUnsupported, id="file"),
        pytest.param("javascript:alert(1)", errors.UrlSchemeUnsupported, id="javascript"),
        pytest.param("httpx://example.com/", errors.UrlSchemeUnsupported, id="longer-scheme"),
        pytest.param("ｈttp://example.com/", errors.UrlSchemeUnsupported, id="full-width-scheme"),
        pytest.param("\ufeffhttp://example.com/", errors.UrlSchemeUnsupported, id="byte-order-mark"),
        pytest.param("no url at all", errors.UrlSchemeUnsupported, id="sentence"),
        pytest.param("http://user@example.com/", errors.UrlUserinfoRefused, id="user"),
        pytest.param("http://user:secret@example.com/", errors.UrlUserinfoRefused, id="user-and-password"),
        pytest.param("http://@example.com/", errors.UrlUserinfoRefused, id="empty-at"),
        pytest.param("http://:@example.com/", errors.UrlUserinfoRefused, id="empty-user-and-password"),
        pytest.param("http://user@/", errors.UrlUserinfoRefused, id="user-without-host"),
        pytest.param("http://a@b@example.com/", errors.UrlUserinfoRefused, id="two-at"),
        pytest.param("http://127.0.0.1\\@example.com/", errors.UrlUserinfoRefused, id="backslash-and-at"),
        pytest.param("http://", errors.UrlHostEmpty, id="nothing-after-slashes"),
        pytest.param("http:///example.com", errors.UrlHostEmpty, id="three-slashes"),
        pytest.param("http:////example.com", errors.UrlHostEmpty, id="four-slashes"),
        pytest.param("http:", errors.UrlHostEmpty, id="scheme-alone"),
        pytest.param("http:example.com", errors.UrlHostEmpty, id="no-slashes"),
        pytest.param("http:/example.com", errors.UrlHostEmpty, id="one-slash"),
        pytest.param("http://?q", errors.UrlHostEmpty, id="query-without-host"),
        pytest.param("http://#f", errors.UrlHostEmpty, id="fragment-without-host"),
        pytest.param("http://:80/", errors.UrlHostEmpty, id="port-without-host"),
        pytest.param("http://:/", errors.UrlHostEmpty, id="colon-without-host"),
        pytest.param("http:\\\\example.com", errors.InvalidUrl, id="backslashes-for-slashes"),
        pytest.param("http:/\\example.com", errors.InvalidUrl, id="slash-and-backslash"),
        pytest.param("http://\\example.com", errors.InvalidUrl, id="backslash-before-host"),
        pytest.param("http://example.com\\a", errors.InvalidUrl, id="backslash-after-host"),
        pytest.param("http://example.com/a b", errors.UrlCharacterRefused, id="space-in-path"),
        pytest.param("http://example.com/?a b", errors.UrlCharacterRefused, id="space-in-query"),
        pytest.param("http://example.com/#a b", errors.UrlCharacterRefused, id="space-in-fragment"),
        pytest.param("http://exa mple.com/", errors.UrlCharacterRefused, id="space-in-host"),
        pytest.param("http:// example.com/", errors.UrlCharacterRefused, id="space-before-host"),
        pytest.param("http://example.com/\n", errors.UrlCharacterRefused, id="line-end-last"),
        pytest.param("\thttp://example.com/", errors.UrlCharacterRefused, id="tab-first"),
        pytest.param("ht\ntp://example.com/", errors.UrlCharacterRefused, id="line-end-in-scheme"),
        pytest.param("http://exa\tmple.com/", errors.UrlCharacterRefused, id="tab-in-host"),
        pytest.param("http://example.com/\r\nX: y", errors.UrlCharacterRefused, id="header-injection"),
        pytest.param("http://example.com/\0", errors.UrlCharacterRefused, id="nul"),
        pytest.param("http://example.com/\x1b", errors.UrlCharacterRefused, id="escape"),
        pytest.param("http://example.com/\x7f", errors.UrlCharacterRefused, id="delete"),
        pytest.param("http://example.com/\x85", errors.UrlCharacterRefused, id="c1-control"),
        pytest.param("http://example.com/\ud800", errors.UrlCharacterRefused, id="lone-surrogate"),
        pytest.param("http://\udfff.example/", errors.UrlCharacterRefused, id="lone-surrogate-in-host"),
        pytest.param("http://exa%20mple.com/", errors.InvalidUrl, id="encoded-space-in-host"),
        pytest.param("http://exa%00mple.com/", errors.InvalidUrl, id="encoded-nul-in-host"),
        pytest.param("http://user%40example.com/", errors.InvalidUrl, id="encoded-at-in-host"),
        pytest.param("http://example.com%2f.example/", errors.InvalidUrl, id="encoded-slash-in-host"),
        pytest.param("http://example.com／.example/", errors.InvalidUrl, id="full-width-slash-in-host"),
        pytest.param("http://user＠example.com/", errors.InvalidUrl, id="full-width-at-in-host"),
        pytest.param("http://example.com：80/", errors.InvalidUrl, id="full-width-colon-in-host"),
        pytest.param("http://\u00ad/", errors.InvalidUrl, id="host-that-idna-empties"),
        pytest.param("http://a..example/", errors.InvalidUrl, id="empty-label"),
        pytest.param("http://.example/", errors.InvalidUrl, id="empty-first-label"),
        pytest.param("http://example../", errors.InvalidUrl, id="two-trailing-dots"),
        pytest.param("http://./", errors.InvalidUrl, id="dot"),
        pytest.param("http://。/", errors.InvalidUrl, id="ideographic-dot"),
        pytest.param(f"http://a{LABEL_63}.example/", errors.InvalidUrl, id="label-of-64"),
        pytest.param(f"http://{NAME_253}e/", errors.InvalidUrl, id="name-of-254"),
        pytest.param("http://256.1.1.1/", errors.InvalidUrl, id="ipv4-out-of-range"),
        pytest.param("http://1.2.3.4.5/", errors.InvalidUrl, id="ipv4-of-five"),
        pytest.param("http://example.09/", errors.InvalidUrl, id="last-label-a-number"),
        pytest.param("http://::1/", errors.InvalidUrl, id="ipv6-without-brackets"),
        pytest.param("http://[::1/", errors.InvalidUrl, id="ipv6-half-bracketed"),
        pytest.param("http://[]/", errors.InvalidUrl, id="ipv6-empty"),
        pytest.param("http://[fe80::1%25eth0]/", errors.InvalidUrl, id="ipv6-zone"),
        pytest.param("http://[fe80::1%eth0]/", errors.InvalidUrl, id="ipv6-zone-bare"),
        pytest.param("http://example.com:65536/", errors.InvalidUrl, id="port-too-high"),
        pytest.param("http://example.com:-1/", errors.InvalidUrl, id="port-negative"),
        pytest.param("http://example.com:http/", errors.InvalidUrl, id="port-a-word"),
        pytest.param("http://example.com:80:80/", errors.InvalidUrl, id="two-ports"),
    ],
)
def test_text_is_refused(text: str, error: type[errors.InvalidUrl]) -> None:
    with pytest.raises(errors.InvalidUrl) as refusal:
        normalize(text)
    assert type(refusal.value) is error
    assert "secret" not in refusal.value.detail


def test_length_is_bounded_as_it_came() -> None:
    longest = "http://example.com/".ljust(MAX_LENGTH, "a")
    assert MAX_LENGTH == 8192
    assert normalize(longest).href == longest
    for text in (longest + "a", "http://example.com/#".ljust(MAX_LENGTH + 1, "a"), "http://a/" + " " * MAX_LENGTH):
        with pytest.raises(errors.UrlTooLong):
            normalize(text)


def test_length_is_bounded_after_normalizing() -> None:
    start = "http://example.com/"
    longest = start + "é" * ((MAX_LENGTH - len(start)) // len("%C3%A9"))
    assert len(longest) < len(normalize(longest).href) <= MAX_LENGTH
    with pytest.raises(errors.UrlTooLong):
        normalize(longest + "é")
    with pytest.raises(errors.UrlTooLong):
        normalize(start + "%" * (MAX_LENGTH // 3))


@pytest.mark.parametrize("character", [chr(code) for code in range(0x21, 0x7F) if chr(code) not in "/?#\\@:"])
def test_host_character_is_refused_when_libcurl_refuses_it(character: str) -> None:
    text = f"http://a{character}b.example/"
    try:
        href = ada_url.URL(text).href
    except ValueError:
        href = None
    if href and libcurl_takes(href):
        assert normalize(text).host == f"a{character}b.example".lower()
    else:
        with pytest.raises(errors.InvalidUrl):
            normalize(text)


@pytest.mark.parametrize(
    ("reference", "href"),
    [
        pytest.param("https://other.example/x", "https://other.example/x", id="absolute"),
        pytest.param("//other.example", "http://other.example/", id="scheme-relative"),
        pytest.param("/x", "http://example.com:81/x", id="path-absolute"),
        pytest.param("x", "http://example.com:81/a/x", id="path-relative"),
        pytest.param("../x", "http://example.com:81/x", id="dots"),
        pytest.param("?x", "http://example.com:81/a/b?x", id="query"),
        pytest.param("#x", "http://example.com:81/a/b?q", id="fragment-alone"),
        pytest.param("", "http://example.com:81/a/b?q", id="empty"),
        pytest.param("/x#y", "http://example.com:81/x", id="fragment-dropped"),
        pytest.param("/%7e%zz%c3", "http://example.com:81/%7e%zz%c3", id="percent-encoding-as-it-came"),
        pytest.param("/é x", "http://example.com:81/%C3%A9%20x", id="non-ascii-and-space"),
        pytest.param(" /x\t", "http://example.com:81/x", id="white-space-as-browsers-do"),
        pytest.param("\\\\other.example\\x", "http://other.example/x", id="backslashes-as-browsers-do"),
        pytest.param("http:x", "http://example.com:81/a/x", id="scheme-without-slashes"),
        pytest.param("https:x", "https://x/", id="other-scheme-without-slashes"),
        pytest.param("ftp://other.example/", "ftp://other.example/", id="other-schemes-are-the-callers-affair"),
        pytest.param("http://2130706433/", "http://127.0.0.1/", id="address-spelled-out"),
        pytest.param("http://exa mple/", None, id="space-in-host"),
        pytest.param("http://", None, id="empty-host"),
        pytest.param("http://other.example:x/", None, id="bad-port"),
        pytest.param("/\ud800", None, id="lone-surrogate"),
    ],
)
def test_location_is_resolved(reference: str, href: str | None) -> None:
    assert resolve("http://example.com:81/a/b?q", reference) == href


def test_location_against_a_base_that_is_no_url_is_none() -> None:
    assert resolve("example.com", "/x") is None


HOSTS = st.sampled_from(
    ["example.com", "a.", "A_b.c", "1.2", "0x7f.1", "[::1]", "[::ffff:1.2.3.4]", "bücher.de", "xn--bcher-kva.de"]
)
PIECES = st.one_of(
    st.sampled_from(["/", ".", "..", "%2e", "%2E", "%", "%2", "%25", "%%", "%41", "%7e", "%c3%a9", "%ff", "%2f", "//"]),
    st.sampled_from(["?", "&", "=", "+", "'", '"', "<", "`", "{", "|", "^", "[", "\\", "@", ":", ";", "~", "é", "☃"]),
    st.text(alphabet="%0123456789abcdefABCDEF.", max_size=6),
    st.text(max_size=3),
)
LIKELY_URLS = st.builds(
    lambda scheme, host, port, pieces: f"{scheme}://{host}{port}/{''.join(pieces)}",
    st.sampled_from(["http", "https", "HTTP"]),
    st.one_of(HOSTS, st.text(min_size=1, max_size=5).map(lambda text: f"{text}.example")),
    st.sampled_from(["", ":", ":80", ":443", ":0", ":08080"]),
    st.lists(PIECES, max_size=12),
)
ANY_TEXT = st.one_of(
    LIKELY_URLS,
    st.text(alphabet=st.characters(exclude_categories=())),  # lone surrogates as well
    st.builds("".join, st.lists(st.sampled_from([*"htps:/\\@[]?#.%1a \t\0\ud800é"]), max_size=12)).map("http:".__add__),
    st.text(alphabet=st.characters(exclude_categories=()), max_size=12).map("http://".__add__),
)


@settings(deadline=None)  # a loaded machine is no fault; pytest's time limit stands
@given(ANY_TEXT)
def test_any_text_is_normalized_for_good_or_refused(text: str) -> None:
    try:
        url = normalize(text)
    except errors.InvalidUrl:
        return
    assert normalize(url.href) == url
    assert url.href.isascii()
    assert "#" not in url.href


@settings(deadline=None)  # a loaded machine is no fault; pytest's time limit stands
@given(st.lists(PIECES, max_size=12))
def test_normalizing_twice_equals_once(pieces: list[str]) -> None:
    path = "".join(character for character in "".join(pieces) if character.isprintable() and character not in " #")
    url = normalize(f"http://example.com/{path}")
    assert normalize(url.href) == url


@settings(deadline=None)  # a loaded machine is no fault; pytest's time limit stands
@given(st.lists(PIECES, max_size=12))
def test_normalizing_keeps_what_the_path_and_query_say(pieces: list[str]) -> None:
    path = "".join(character for character in "".join(pieces) if character.isprintable() and character not in " #")
    parsed = ada_url.URL(f"http://example.com/{path}")
    normalized = ada_url.URL(normalize(f"http://example.com/{path}").href)
    assert unquote_to_bytes(normalized.pathname) == unquote_to_bytes(parsed.pathname)
    assert unquote_to_bytes(normalized.search) == unquote_to_bytes(parsed.search)


@settings(deadline=None)  # a loaded machine is no fault; pytest's time limit stands
@given(LIKELY_URLS)
def test_libcurl_takes_whatever_is_accepted(text: str) -> None:
    try:
        url = normalize(text)
    except errors.InvalidUrl:
        return
    assert libcurl_takes(url.href)


@st.composite
def spelled_addresses(draw: st.DrawFn) -> tuple[str, str]:
    """An IPv4 address as WHATWG lets a URL spell it, and in dotted decimals."""
    number = draw(st.integers(0, 2**32 - 1))
    count = draw(st.integers(1, 4))
    *firsts, last = [number >> 8 * (3 - at) & 0xFF for at in range(count - 1)] + [number & (1 << 8 * (5 - count)) - 1]
    spell = st.sampled_from(["{:d}", "{:#x}", "0x{:X}", "0{:o}", "0x00{:x}"])
    text = ".".join(draw(spell).format(part) for part in (*firsts, last)) + draw(st.sampled_from(["", "."]))
    wide = draw(st.sampled_from([0, 0xFEE0]))  # full-width forms, which IDNA maps to ASCII
    escaped = draw(st.booleans())
    spelled = "".join(f"%{ord(letter):02x}" if escaped else chr(ord(letter) + wide) for letter in text)
    return spelled, str(IPv4Address(number))


@settings(deadline=None, derandomize=True)
@given(spelled_addresses())
def test_address_is_the_same_host_however_it_is_spelled(spelled_and_plain: tuple[str, str]) -> None:
    spelled, plain = spelled_and_plain
    assert normalize(f"http://{spelled}/") == normalize(f"http://{plain}/")
    assert normalize(f"http://{plain}/").host == plain


@settings(deadline=None, derandomize=True)
@given(LIKELY_URLS)
def test_stored_url_is_recalled_as_it_was_admitted(text: str) -> None:
    try:
        url = normalize(text)
    except errors.InvalidUrl:
        return
    assert recall(url.href) == url
    assert resolve(url.href, "") == resolve("http://other.example/", url.href) == url.href
