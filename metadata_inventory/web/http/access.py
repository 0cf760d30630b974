"""Who may ask, and from where: keys, the Host header, other sites' pages, and how much work a client may start."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Collection

from msgspec import Struct
from tornado.httputil import HTTPHeaders, HTTPServerRequest

from metadata_inventory import errors
from metadata_inventory.access.keys import ApiKey, KeyRing, Scope
from metadata_inventory.access.rate import Grant, RateLimit

# What a page of another origin may send and see when its origin is allowed; Fetch standard, "CORS protocol".
ALLOWED_HEADERS = "Authorization, Content-Type, If-None-Match, Prefer"
EXPOSED_HEADERS = (
    "Age, Cache-Status, ETag, Last-Modified, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After"
)
PREFLIGHT_S = 600


class Caller(Struct, frozen=True):
    """Who sent a request: a key's holder, or with no keys in force whoever reached us. `name` counts its work."""

    name: str
    key: ApiKey | None = None

    def may(self, scope: Scope) -> bool:
        return self.key is None or scope in self.key.scopes


class Access:
    """The rules in force. `keys` None: nobody is asked for one; `rate` None: nobody is held back."""

    def __init__(
        self,
        *,
        keys: KeyRing | None = None,
        rate: RateLimit | None = None,
        hosts: Collection[str] = (),
        cors_origins: Collection[str] = (),
    ) -> None:
        self.rate = rate
        self._keys = keys
        self._hosts = frozenset(host.lower() for host in hosts)
        self._cors_origins = frozenset(cors_origins)

    def identify(self, request: HTTPServerRequest) -> Caller:
        """The caller. Raises TokenMissing, TokenInvalid (RFC 6750)."""
        if self._keys is None:
            return Caller(_network_of(request.remote_ip or ""))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise errors.TokenMissing
        key = self._keys.find(token.strip())
        if key is None:
            raise errors.TokenInvalid
        return Caller(f"key {key.id}", key)

    def check_host(self, request: HTTPServerRequest) -> None:
        """Refuse a Host that is not ours: a page whose name was made to resolve to this address (DNS rebinding).

        Where keys are asked for such a page gets nowhere, so any name will do unless names are listed.
        """
        name = _host_name(request.host)
        if "*" in self._hosts or name in self._hosts or (self._keys is not None and not self._hosts):
            return
        if name == "localhost" or name.endswith(".localhost") or _is_address(name):
            return
        raise errors.HostNotAllowed

    def check_site(self, request: HTTPServerRequest) -> None:
        """Refuse work that a page of another site starts in somebody's browser (Fetch metadata, and Origin)."""
        origin = request.headers.get("Origin")
        if origin is not None and origin in self._cors_origins:
            return
        # Anything but the two words is refused, also what no browser sends: other capitals, nothing, two words.
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise errors.CrossSiteRefused
        if origin is not None and origin.partition("://")[2] != request.host:
            raise errors.CrossSiteRefused

    def take(self, caller: Caller) -> Grant | None:
        """A token for work that is about to start; None when nothing limits it."""
        return self.rate.take(caller.name) if self.rate else None

    def cors(self, headers: HTTPHeaders) -> dict[str, str]:
        """The headers that let a page of an allowed origin read the answer."""
        if not self._cors_origins:
            return {}
        origin = headers.get("Origin")
        if origin not in self._cors_origins:
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": EXPOSED_HEADERS,
        }


def rate_headers(rate: RateLimit, grant: Grant) -> dict[str, str]:
    """draft-ietf-httpapi-ratelimit-headers-10: the policy's quota and window, what remains, and when there is more."""
    refill_s = math.ceil(grant.wait_s or 1 / rate.rate_per_s)
    return {
        "RateLimit-Policy": f'"collect";q={rate.burst};w={rate.window_s}',
        "RateLimit": f'"collect";r={grant.remaining};t={refill_s}',
    }


def _network_of(ip: str) -> str:
    """Whom an address stands for: an IPv6 customer has at least a /64 of them."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def _host_name(host: str) -> str:
    """The Host header's name or address, without port and brackets, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
