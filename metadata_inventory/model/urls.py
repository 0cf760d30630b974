"""From a text to the URL under which a record is kept. Pure.

A text is refused where two readers could see different hosts in it; what is left is parsed by the WHATWG URL Standard
(ada-url), and its percent-encoding is normalised by RFC 3986 §6.2.2. Two texts of one normalized URL name one record,
so whatever may tell pages apart stays: the order and presence of query parameters, an empty query, a trailing slash.

Invariant: normalizing twice equals once. A bare `%` is written `%25` in the same pass that decodes, so decoding makes
no new escape; dot segments, also those spelled with `%2e`, are gone before anything is decoded, so none comes to be.
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
# What libcurl takes of what WHATWG leaves in a host; libcurl 8.23 answers error 3 to the rest (!"$&'()*+,;=`{}).
# Empty and over-long labels it would hand to the resolver, but no name in the DNS has them (RFC 1035 §2.3.4).
_NAME = re.compile(r"(?=.{1,253}\.?\Z)[a-z0-9_~-]{1,63}(?:\.[a-z0-9_~-]{1,63})*\.?")
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986 §2.3


class NormalizedUrl(Struct, frozen=True):
    """A URL that may be looked up and collected; only `normalize` makes one, and `recall` of what is stored.

    `href` is the normalized URL without a fragment. `scheme` is http or https. `host` is what DNS or a socket takes:
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
    """The URL that `text` names; spaces around it are no part of it.

    Raises InvalidUrl, or the subclass that says why. What the text says about itself is judged as it came, fragment
    and all, before anything is parsed.
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
    scheme = parsed.protocol.removesuffix(":")
    port = int(parsed.port) if parsed.port else DEFAULT_PORTS[scheme]
    return NormalizedUrl(href=href, scheme=scheme, host=_dialable_host(parsed.hostname), port=port)


def recall(href: str) -> NormalizedUrl:
    """The URL of a stored record. It was admitted once: rules that have changed since refuse it when it is dialled."""
    parsed = ada_url.URL(href)
    scheme = parsed.protocol.removesuffix(":")
    port = int(parsed.port) if parsed.port else DEFAULT_PORTS[scheme]
    return NormalizedUrl(href=href, scheme=scheme, host=parsed.hostname.strip("[]"), port=port)


def resolve(base: str, reference: str) -> str | None:
    """The URL to request when `base` answered with this Location; None when it cannot be parsed.

    Resolved as browsers do (WHATWG), without a fragment and with its percent-encoding as it came. It may be of any
    scheme, carry userinfo, and lead anywhere: the caller judges it.
    """
    try:
        return ada_url.URL(reference, base).href.partition("#")[0]
    except ValueError:  # UnicodeEncodeError, a lone surrogate's, is one
        return None


def _refuse_characters(text: str) -> None:
    """Refuse what cannot be sent or would be dropped unseen; raises UrlCharacterRefused or UrlSchemeUnsupported.

    The scheme comes before the spaces, so that a sentence is told that it is no URL.
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
    """Refuse a text whose host must be guessed, as WHATWG does: it reads x as the host of http:x and http:///x."""
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
    """The host as DNS or a socket takes it; raises InvalidUrl when libcurl or DNS cannot take it."""
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
