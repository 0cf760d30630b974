"""Reads Set-Cookie lines.

Source: draft-ietf-httpbis-rfc6265bis §5.1, §5.6 and the parts of §5.7 that need no store; Partitioned from CHIPS
(draft-cutler-httpbis-partitioned-cookies); the `__Http-` prefixes of draft-ietf-httpbis-layered-cookies. A browser
drops a faulty line, or a part of it; here the line is kept and flagged. Bytes are compared as bytes and decoded last:
as UTF-8 if the whole line is that, else as ISO-8859-1. Time and memory are linear in the length of the line, and no
line raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Literal

import ada_url
from msgspec import structs
from publicsuffixlist import PublicSuffixList

from metadata_inventory.model.capture import SetCookie

MAX_PAIR_BYTES = 4096  # name and value together, 6265bis §5.6 step 5
MAX_ATTRIBUTE_BYTES = 1024  # an attribute's value, 6265bis §5.6
MAX_LIFETIME = timedelta(days=400)  # 6265bis §5.5


class CookieFlaw(StrEnum):
    """Why a browser ignores a part of a Set-Cookie line, or refuses the whole cookie (the flaws in `REFUSALS`)."""

    NOT_UTF8 = "not_utf8"  # the line is not UTF-8 and is read as ISO-8859-1
    EMPTY_NAME = "empty_name"  # there is no name: browsers send the value alone
    ATTRIBUTE_TOO_LONG = "attribute_too_long"  # an attribute's value is over 1,024 octets and is ignored
    UNKNOWN_ATTRIBUTE = "unknown_attribute"  # an attribute that neither 6265bis nor CHIPS defines is ignored
    BAD_EXPIRES = "bad_expires"  # Expires is not a date and is ignored
    BAD_MAX_AGE = "bad_max_age"  # Max-Age is not a whole number and is ignored
    BAD_PATH = "bad_path"  # Path does not begin with "/": the default path applies
    BAD_SAME_SITE = "bad_same_site"  # SameSite is none of Strict, Lax and None: the default applies
    LIFETIME_CAPPED = "lifetime_capped"  # the lifetime is longer than 400 days and is cut to that
    CONTROL_CHARACTER = "control_character"  # refused: a control character other than tab
    TOO_LONG = "too_long"  # refused: name and value are over 4,096 octets together
    EMPTY = "empty"  # refused: neither name nor value
    BAD_DOMAIN = "bad_domain"  # refused: Domain has octets beyond ASCII
    PUBLIC_SUFFIX = "public_suffix"  # refused: Domain is a public suffix and not the host itself
    DOMAIN_MISMATCH = "domain_mismatch"  # refused: the host is not in Domain
    SECURE_ON_INSECURE_ORIGIN = "secure_on_insecure_origin"  # refused: Secure came over http
    SAME_SITE_NONE_INSECURE = "same_site_none_insecure"  # refused: SameSite=None without Secure
    PARTITIONED_INSECURE = "partitioned_insecure"  # refused: Partitioned without Secure
    BAD_PREFIX = "bad_prefix"  # refused: the cookie is not what __Secure-, __Host- or __Http- in its name requires
    NAMELESS_PREFIX = "nameless_prefix"  # refused: there is no name, and the value begins like a prefixed name


REFUSALS = frozenset(
    {
        CookieFlaw.CONTROL_CHARACTER,
        CookieFlaw.TOO_LONG,
        CookieFlaw.EMPTY,
        CookieFlaw.BAD_DOMAIN,
        CookieFlaw.PUBLIC_SUFFIX,
        CookieFlaw.DOMAIN_MISMATCH,
        CookieFlaw.SECURE_ON_INSECURE_ORIGIN,
        CookieFlaw.SAME_SITE_NONE_INSECURE,
        CookieFlaw.PARTITIONED_INSECURE,
        CookieFlaw.BAD_PREFIX,
        CookieFlaw.NAMELESS_PREFIX,
    }
)

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_MAX_AGE = re.compile(rb"-?[0-9]+")
_DATE_DELIMITERS = re.compile(rb"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(rb"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])")
_DAY = re.compile(rb"([0-9]{1,2})(?![0-9])")
_YEAR = re.compile(rb"([0-9]{2,4})(?![0-9])")
_FIRST_YEAR = 1601
_MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")
_PREFIXES = (b"__secure-", b"__host-", b"__http-", b"__host-http-")
_SAME_SITE: dict[bytes, Literal["Strict", "Lax", "None"]] = {b"strict": "Strict", b"lax": "Lax", b"none": "None"}


@cache
def public_suffixes() -> PublicSuffixList:
    """The library's own copy of the list; no network. The first call takes about 0.1 s."""
    return PublicSuffixList()


@dataclass(frozen=True, slots=True)
class Origin:
    """The parts of a URL that matter for cookies. `host` is None if the URL cannot be parsed: it matches nothing."""

    host: str | None
    path: str
    secure: bool
    is_name: bool

    @classmethod
    def of(cls, url: str) -> Origin:
        try:
            parsed = ada_url.URL(url)
        except (ValueError, UnicodeError):
            return cls(None, "/", secure=False, is_name=False)
        is_name = parsed.host_type == ada_url.HostType.DEFAULT
        return cls(parsed.hostname, parsed.pathname, secure=parsed.protocol == "https:", is_name=is_name)

    @property
    def default_path(self) -> str:
        """The path of a cookie without a usable Path, 6265bis §5.1.4."""
        return self.path[: self.path.rfind("/")] or "/" if self.path.startswith("/") else "/"

    def in_domain(self, domain: str) -> bool:
        """Domain-match, 6265bis §5.1.3."""
        return self.host is not None and (self.host == domain or (self.is_name and self.host.endswith("." + domain)))

    def in_path(self, path: str) -> bool:
        """Path-match, 6265bis §5.1.4."""
        return self.path == path or (
            self.path.startswith(path) and (path.endswith("/") or self.path[len(path) : len(path) + 1] == "/")
        )


class _Attributes:
    """The attributes of one line, by 6265bis §5.6 and §5.7. Of several of one name the last counts.

    An invalid Expires or Max-Age does not count; an invalid Path or SameSite does, and means the default.
    """

    def __init__(self, raw: bytes) -> None:
        self.flaws: set[CookieFlaw] = set()
        self.expires: datetime | None = None
        self.max_age: int | None = None
        self.domain = b""
        self.path: bytes | None = None  # None: the default path
        self.has_path = False
        self.secure = self.http_only = self.partitioned = False
        self.same_site: Literal["Strict", "Lax", "None"] | None = None
        for part in raw.split(b";"):
            name, _, value = part.partition(b"=")
            self._take(name.strip(b" \t").lower(), value.strip(b" \t"))

    def _take(self, name: bytes, value: bytes) -> None:
        if len(value) > MAX_ATTRIBUTE_BYTES:
            self.flaws.add(CookieFlaw.ATTRIBUTE_TOO_LONG)
        elif name in (b"secure", b"httponly", b"partitioned"):
            self.secure |= name == b"secure"
            self.http_only |= name == b"httponly"
            self.partitioned |= name == b"partitioned"
        elif name in (b"expires", b"max-age"):
            self._take_lifetime(name, value)
        elif name == b"domain":
            self.domain = value.removeprefix(b".").lower()
        elif name == b"path":
            self.has_path = True
            self.path = value if value.startswith(b"/") else None
            self._flag(CookieFlaw.BAD_PATH, when=self.path is None)
        elif name == b"samesite":
            self.same_site = _SAME_SITE.get(value.lower())
            self._flag(CookieFlaw.BAD_SAME_SITE, when=self.same_site is None)
        elif name:
            self.flaws.add(CookieFlaw.UNKNOWN_ATTRIBUTE)

    def _take_lifetime(self, name: bytes, value: bytes) -> None:
        if name == b"expires":
            expires = parse_cookie_date(value)
            self.expires = expires or self.expires
            self._flag(CookieFlaw.BAD_EXPIRES, when=expires is None)
        elif _MAX_AGE.fullmatch(value):
            # At most 1,024 digits, which int() accepts; the number is cut to what the database can store.
            asked = int(value)
            limit = int(MAX_LIFETIME.total_seconds())
            self.max_age = max(-limit, min(asked, limit))
            self._flag(CookieFlaw.LIFETIME_CAPPED, when=asked > limit)
        else:
            self.flaws.add(CookieFlaw.BAD_MAX_AGE)

    def _flag(self, flaw: CookieFlaw, *, when: bool) -> None:
        if when:
            self.flaws.add(flaw)


def parse_set_cookie(raw: bytes, url: str, now: datetime) -> SetCookie:
    """Read one Set-Cookie value that came from `url` at `now`.

    `domain` is the host if the cookie is host-only, and else the Domain attribute, also one that is refused. `expires`
    is as sent; `max_age` is cut to ±400 days. `flaws` is in the order of `CookieFlaw`.
    """
    origin = Origin.of(url)
    charset = charset_of(raw)
    pair, _, rest = raw.partition(b";")
    name, equals, value = pair.partition(b"=")
    if not equals:
        name, value = b"", pair
    name, value = name.strip(b" \t"), value.strip(b" \t")
    attributes = _Attributes(rest)
    domain, domain_flaw = _domain(attributes.domain.decode(charset), origin)
    cookie = SetCookie(
        name=name.decode(charset),
        value=value.decode(charset),
        domain=domain or origin.host,
        path=origin.default_path if attributes.path is None else attributes.path.decode(charset),
        expires=attributes.expires,
        max_age=attributes.max_age,
        secure=attributes.secure,
        http_only=attributes.http_only,
        same_site=attributes.same_site,
        partitioned=attributes.partitioned,
        host_only=not domain,
        raw=raw.decode(charset),
    )
    facts = {
        CookieFlaw.NOT_UTF8: charset != "utf-8",
        CookieFlaw.CONTROL_CHARACTER: _CONTROL.search(raw) is not None,
        CookieFlaw.TOO_LONG: len(name) + len(value) > MAX_PAIR_BYTES,
        CookieFlaw.EMPTY: not name and not value,
        CookieFlaw.EMPTY_NAME: not name and bool(value),
        CookieFlaw.NAMELESS_PREFIX: not name and value[:16].lower().startswith(_PREFIXES),
        CookieFlaw.BAD_PREFIX: not _keeps_prefix(cookie, name[:16].lower(), has_path=attributes.has_path),
        CookieFlaw.SECURE_ON_INSECURE_ORIGIN: cookie.secure and not origin.secure,
        CookieFlaw.SAME_SITE_NONE_INSECURE: cookie.same_site == "None" and not cookie.secure,
        CookieFlaw.PARTITIONED_INSECURE: cookie.partitioned and not cookie.secure,
        CookieFlaw.LIFETIME_CAPPED: CookieFlaw.LIFETIME_CAPPED in attributes.flaws
        or (cookie.max_age is None and cookie.expires is not None and cookie.expires > now + MAX_LIFETIME),
    }
    found = {domain_flaw} | attributes.flaws | {flaw for flaw, so in facts.items() if so}
    return structs.replace(cookie, flaws=tuple(flaw.value for flaw in CookieFlaw if flaw in found))


def parse_cookie_date(raw: bytes) -> datetime | None:
    """The date of an Expires attribute, read as leniently as 6265bis §5.1.1 says; None if it is none."""
    time = day = month = year = None
    for token in _DATE_DELIMITERS.split(raw):
        if time is None and (match := _TIME.match(token)):
            time = (int(match[1]), int(match[2]), int(match[3]))
        elif day is None and (match := _DAY.match(token)):
            day = int(match[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (match := _YEAR.match(token)):
            year = int(match[1])
    if time is None or day is None or month is None or year is None:
        return None
    if year <= 99:
        year += 1900 if year >= 70 else 2000
    try:
        return datetime(year, month, day, *time, tzinfo=UTC) if year >= _FIRST_YEAR else None
    except ValueError:
        return None


def charset_of(raw: bytes) -> str:
    """The charset in which a line is read: `utf-8`, or else `latin-1`."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _domain(domain: str, origin: Origin) -> tuple[str, CookieFlaw | None]:
    """The Domain that applies, empty for a host-only cookie, and its flaw (6265bis §5.7, steps 7 to 10)."""
    if not domain.isascii():
        return domain, CookieFlaw.BAD_DOMAIN
    if domain and public_suffixes().is_public(domain.strip(".")):
        return ("", None) if domain == origin.host else (domain, CookieFlaw.PUBLIC_SUFFIX)
    if domain and not origin.in_domain(domain):
        return domain, CookieFlaw.DOMAIN_MISMATCH
    return domain, None


def _keeps_prefix(cookie: SetCookie, name: bytes, *, has_path: bool) -> bool:
    """Whether the cookie is what the prefix of its name requires: 6265bis §5.7, steps 20 and 21, and layered-cookies.

    `name` is in lower case.
    """
    host = cookie.secure and cookie.host_only and has_path and cookie.path == "/"
    if name.startswith(b"__host-http-"):
        return host and cookie.http_only
    if name.startswith(b"__host-"):
        return host
    if name.startswith(b"__http-"):
        return cookie.secure and cookie.http_only
    return cookie.secure or not name.startswith(b"__secure-")
