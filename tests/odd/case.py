"""A case: what the server does, and what the collection's outcome says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from backports import zstd

from metadata_inventory.model.capture import Capture, Exchange, FailureCode, Outcome
from tests.odd.server import OddServer, Serve

HELLO = b"hello"  # the body of answers whose body is not what they are about
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Case:
    """`name` is the test's id. `does` and `says` are the row of the documentation.

    `serve` talks to each connection. `before` are paths that are collected first, `at_once` is how many collections run
    side by side. A case that `waits` is ended by its deadline and not earlier, every other one before it. `grows_mib`:
    the memory that a process may need for it, measured in one of its own.
    """

    name: str
    does: str
    says: str
    serve: Serve
    expect: Expected
    scheme: str = "http"
    host: str = "127.0.0.1"
    path: str = "/"
    before: tuple[str, ...] = ()
    at_once: int = 1
    trusting: bool = False  # our authority is trusted, in place of those that the world trusts
    options: Mapping[str, Any] = field(default_factory=dict)
    deadline_ms: int = 5_000
    waits: bool = False
    grows_mib: int | None = None

    def url(self, port: int, path: str | None = None) -> str:
        return f"{self.scheme}://{self.host}:{port}{path or self.path}"


@dataclass(frozen=True)
class Expected:
    """Facts by their names in `FACTS`, and what else must hold of the outcome and the server."""

    facts: Mapping[str, object]
    also: Callable[[Outcome, OddServer], None] | None = None

    def __post_init__(self) -> None:
        assert set(self.facts) <= set(FACTS), set(self.facts) - set(FACTS)

    def hold_against(self, outcome: Outcome, server: OddServer) -> None:
        code = outcome.code if not isinstance(outcome, Capture) else None
        assert code == self.facts["code"], outcome
        assert {name: FACTS[name](outcome) for name in self.facts} == self.facts
        if self.also is not None:
            self.also(outcome, server)


def page(also: Callable[[Outcome, OddServer], None] | None = None, **facts: object) -> Expected:
    """The collection is a capture; unless told otherwise, of one whole answer with status 200."""
    usual = {"code": None, "status": 200, "hops": 1, "truncated": None, "coding_error": None, "reached": True}
    return Expected(usual | facts, also)


def failure(code: FailureCode, also: Callable[[Outcome, OddServer], None] | None = None, **facts: object) -> Expected:
    """The collection has failed; unless told otherwise, on its first hop, in front of a server that was reached."""
    return Expected({"code": code, "status": None, "hops": 1, "reached": True} | facts, also)


def _last(outcome: Outcome) -> Exchange:
    return outcome.exchanges[-1]


def _headers(outcome: Outcome) -> list[tuple[str, str]]:
    response = _last(outcome).response
    return [] if response is None else [(header.name, header.value) for header in response.headers]


def _cookies(outcome: Outcome) -> list[tuple[str, str]]:
    """Of all hops."""
    responses = [exchange.response for exchange in outcome.exchanges if exchange.response is not None]
    return [(cookie.name, cookie.value) for response in responses for cookie in response.set_cookies]


def _flaws(outcome: Outcome) -> list[tuple[str, ...]]:
    responses = [exchange.response for exchange in outcome.exchanges if exchange.response is not None]
    return [cookie.flaws for response in responses for cookie in response.set_cookies]


def _sent_cookies(exchange: Exchange) -> str | None:
    return next((header.value for header in exchange.request.headers if header.name == "Cookie"), None)


def _of_response(name: str) -> Callable[[Outcome], object]:
    return lambda outcome: getattr(_last(outcome).response, name, None)


def _of_body(name: str) -> Callable[[Outcome], object]:
    return lambda outcome: getattr(outcome.body, name) if isinstance(outcome, Capture) else None


def _of_tls(name: str) -> Callable[[Outcome], object]:
    return lambda outcome: getattr(_last(outcome).tls, name, None)


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


FACTS: dict[str, Callable[[Outcome], object]] = {
    "code": lambda outcome: None if isinstance(outcome, Capture) else outcome.code,
    "detail": lambda outcome: None if isinstance(outcome, Capture) else outcome.detail,
    "hops": lambda outcome: len(outcome.exchanges),
    "paths": lambda outcome: [_path_of(exchange.request.url) for exchange in outcome.exchanges],
    "sent_cookies": lambda outcome: [_sent_cookies(exchange) for exchange in outcome.exchanges],
    "reached": lambda outcome: _last(outcome).server is not None,
    "asked": lambda outcome: bool(_last(outcome).request.headers),
    "status": _of_response("status_code"),
    "reason": _of_response("reason"),
    "version": _of_response("http_version"),
    "headers": _headers,
    "names": lambda outcome: [name for name, _ in _headers(outcome)],
    "header_count": lambda outcome: len(_headers(outcome)),
    "cookies": _cookies,
    "cookie_count": lambda outcome: len(_cookies(outcome)),
    "flaws": _flaws,
    "body": lambda outcome: zstd.decompress(outcome.content) if isinstance(outcome, Capture) else None,
    "length": _of_body("length"),
    "wire_length": _of_body("wire_length"),
    "codings": _of_body("content_codings"),
    "coding_error": _of_body("coding_error"),
    "truncated": _of_body("truncated"),
    "verified": _of_tls("verified"),
    "verify_error": _of_tls("verify_error"),
    "tls_version": _of_tls("version"),
    "alpn": _of_tls("alpn"),
    "certified": lambda outcome: getattr(_last(outcome).tls, "certificate", None) is not None,
}
