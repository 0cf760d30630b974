"""Normalizes URLs: from a text to the URL under which a record is stored. Pure.

A text in which two parsers could see different hosts is refused. Every other text is parsed by the WHATWG URL Standard
(ada-url), and its percent-encoding is normalized by RFC 3986 §6.2.2. Two texts with one normalized URL name one record,
so everything that may tell two pages apart is kept: the order and presence of query parameters, an empty query, a
trailing slash.

Invariant: normalizing twice equals once. A bare `%` is written `%25` in the same pass that decodes, so decoding makes
no new escape; dot segments, also those spelled with `%2e`, are removed before anything is decoded, so it makes none.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import ada_url
from msgspec import Struct

from metadata_inventory.errors import (
    InvalidUrl,
    UrlCharacterRefused,
    UrlHostEmpty,
    UrlSchemeUnsupported,
    UrlTooLong,
    UrlUserinfoRefused,
)

MAX_LENGTH: Final = 8192  # characters, of the text as it came and of the normalized URL
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE | re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_AUTHORITY_END = re.compile(r"[/?#]")  # RFC 3986 §3.2; a backslash, which ends it for WHATWG alone, is refused
_NO_HOST = re.compile(r"(?::[0-9]*)?")  # an authority that is empty, or a port alone
# A host may have more characters by WHATWG, but libcurl 8.23 fails with error 3 for those (!"$&'()*+,;=`{}).
# It would hand empty and over-long labels to the resolver, but no name in the DNS has them (RFC 1035 §2.3.4).
_NAME = re.compile(r"(?=.{1,253}\.?\Z)[a-z0-9_~-]{1,63}(?:\.[a-z0-9_~-]{1,63})*\.?")
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986 §2.3


class NormalizedUrl(Struct, frozen=True):
    """A URL that may be looked up and collected. Made by `normalize`, and by `recall` from a stored record.

    `href` is the normalized URL without a fragment. `scheme` is http or https. `host` is written as for DNS or sockets:
    lower-case ASCII, an IPv6 address without its brackets, a name with its trailing dot if it had one. `port` is the
    effective one.
    """

    href: str
    scheme: str
    host: str
    port: int

    @property
    def id(self) -> str:
        """The record's id: sha256 of `href`, 64 hex digits."""
        return hashlib.sha256(self.href.encode()).hexdigest()


def normalize(text: str) -> NormalizedUrl:
    """The normalized URL of `text`; spaces around the text are ignored.

    Raises InvalidUrl, or the subclass that says why. Scheme, userinfo and characters are judged in the text as it was
    given, with its fragment, before anything is parsed.
    """
    if len(text) > MAX_LENGTH:
        raise UrlTooLong
    text = text.strip(" ")
    _refuse_characters(text)
    _refuse_authority(text)
    try:
        parsed = ada_url.URL(text.partition("#")[0])
    except ValueError as error:
        raise InvalidUrl from error
    href = _PERCENT.sub(_normalize_escape, parsed.href)
    if len(href) > MAX_LENGTH:
        raise UrlTooLong("The normalized URL is longer than 8,192 characters.")
    return _build(href, parsed, _dialable_host(parsed.hostname))


def recall(href: str) -> NormalizedUrl:
    """The URL of a stored record. Rules that have changed since it was accepted are applied when it is connected to."""
    parsed = ada_url.URL(href)
    return _build(href, parsed, parsed.hostname.strip("[]"))


def resolve(base: str, reference: str) -> str | None:
    """The URL that a `Location` of the response from `base` refers to; None when it cannot be parsed.

    Resolved as browsers do (WHATWG), without its fragment and with its percent-encoding as sent. It may have any
    scheme, carry userinfo, and name any host: the caller has to check it.
    """
    try:
        return ada_url.URL(reference, base).href.partition("#")[0]
    except ValueError:  # UnicodeEncodeError, a lone surrogate's, is one
        return None


def _build(href: str, parsed: ada_url.URL, host: str) -> NormalizedUrl:
    scheme = parsed.protocol.removesuffix(":")
    port = int(parsed.port) if parsed.port else DEFAULT_PORTS[scheme]
    return NormalizedUrl(href=href, scheme=scheme, host=host, port=port)


def _refuse_characters(text: str) -> None:
    """Refuse characters that cannot be sent, or that parsers drop; raises UrlCharacterRefused, UrlSchemeUnsupported.

    The scheme is checked before spaces, so that a sentence is refused as no URL and not for its spaces.
    """
    if _CONTROL.search(text):  # WHATWG drops tabs and line ends wherever they stand, also inside a host
        raise UrlCharacterRefused
    if _SURROGATE.search(text):
        raise UrlCharacterRefused("The URL contains half of a surrogate pair, which is no character.")
    scheme = _SCHEME.match(text)
    if scheme is None or scheme[1].lower() not in DEFAULT_PORTS:
        raise UrlSchemeUnsupported
    if " " in text:
        raise UrlCharacterRefused


def _refuse_authority(text: str) -> None:
    """Refuse a text whose host would be guessed: WHATWG reads x as the host of http:x and http:///x."""
    rest = text.partition(":")[2]
    if "\\" in rest[:2]:
        raise InvalidUrl("The scheme must be followed by two slashes, not by backslashes.")
    if not rest.startswith("//"):
        raise UrlHostEmpty("The URL names no host: the scheme must be followed by two slashes and a host.")
    authority = _AUTHORITY_END.split(rest[2:], maxsplit=1)[0]
    if "@" in authority:
        raise UrlUserinfoRefused
    if "\\" in authority:
        raise InvalidUrl("The host is followed by a backslash, which readers of URLs understand differently.")
    if _NO_HOST.fullmatch(authority):
        raise UrlHostEmpty


def _dialable_host(hostname: str) -> str:
    """The host in the form for DNS or a socket; raises InvalidUrl when libcurl or DNS cannot take it."""
    if hostname.startswith("["):
        return hostname[1:-1]
    if not _NAME.fullmatch(hostname):
        raise InvalidUrl("The URL's host is neither an address nor a name that DNS can hold.")
    return hostname


def _normalize_escape(escape: re.Match[str]) -> str:
    """RFC 3986 §6.2.2.1 and §6.2.2.2: an unreserved character stands for itself, other escapes are upper-case."""
    digits = escape[1]
    if digits is None:
        return "%25"
    character = chr(int(digits, 16))
    return character if character in _UNRESERVED else escape[0].upper()
