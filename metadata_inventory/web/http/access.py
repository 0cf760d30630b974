"""The rules on who may use the API: API keys, the Host header, pages of other sites, work that a client may start.

The rules are the same for every request. `request_access` applies them to one request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from msgspec import Struct
from tornado.httputil import HTTPServerRequest

from metadata_inventory.access.keys import ApiKey, KeyRing, Scope
from metadata_inventory.access.rate import RateLimit
from metadata_inventory.errors import CrossSiteRefused, HostNotAllowed, TokenInvalid, TokenMissing
from metadata_inventory.validation import show
from metadata_inventory.web.http.cors import CorsPolicy

_CROSS_SITE = "A page of another site may not start work here; the setting cors_origins lists the origins that may."


class Caller(Struct, frozen=True):
    """The sender of a request: the holder of `key`, or, where no keys are in force, a network address.

    The work that a client starts is counted under `name`.
    """

    name: str
    key: ApiKey | None = None

    def may(self, scope: Scope) -> bool:
        return self.key is None or scope in self.key.scopes


class Access:
    """The rules in force. With `keys` None no request needs an API key; with `rate` None work is not limited."""

    def __init__(
        self,
        *,
        keys: KeyRing | None = None,
        rate: RateLimit | None = None,
        hosts: Collection[str] = (),
        cors_origins: Collection[str] = (),
    ) -> None:
        self.rate = rate
        self.cors = CorsPolicy(cors_origins)
        self._keys = keys
        self._hosts = frozenset(host.lower() for host in hosts)

    def identify(self, request: HTTPServerRequest) -> Caller:
        """The caller. Raises TokenMissing or TokenInvalid (RFC 6750)."""
        if self._keys is None:
            return Caller(_network_of(request.remote_ip or ""))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise TokenMissing
        key = self._keys.find(token.strip())
        if key is None:
            raise TokenInvalid
        return Caller(f"key {key.id}", key)

    def check_host(self, request: HTTPServerRequest) -> None:
        """Raises HostNotAllowed for a foreign name in the Host header: DNS rebinding.

        A page whose own name was made to resolve to this address would otherwise be of the same origin as the API.
        Where keys are in force, such a page has none: then any name is accepted, unless names are listed.
        """
        name = _host_name(request.host)
        if "*" in self._hosts or name in self._hosts or (self._keys is not None and not self._hosts):
            return
        if name == "localhost" or name.endswith(".localhost") or _is_address(name):
            return
        raise HostNotAllowed(
            f"Host must be an IP address, localhost or a name of the setting allowed_hosts, not {show(request.host)}."
        )

    def check_site(self, request: HTTPServerRequest) -> None:
        """Raises CrossSiteRefused for a request by a page of another site (Fetch metadata, and Origin)."""
        origin = request.headers.get("Origin")
        if self.cors.allows(origin):
            return
        # Any other value is refused, also one that no browser sends: with other capitals, empty, two values.
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise CrossSiteRefused(_CROSS_SITE)
        if origin is not None and origin.partition("://")[2] != request.host:
            raise CrossSiteRefused(_CROSS_SITE)


def _network_of(ip: str) -> str:
    """The network that counts as one client: a whole /64 of IPv6, as a customer has at least that."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def _host_name(host: str) -> str:
    """The name or address of a Host header in lower case, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
