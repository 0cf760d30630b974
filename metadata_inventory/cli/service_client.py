"""Sends one request to a running service and reads its answer. A failure is one exception, with a sentence to print.

The answer may come from anything that listens at the address: it is never trusted to be this service's. The API key
comes from the environment, not from a flag, which every user of the machine could read.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.parse import urlsplit

TIMEOUT_S = 30.0
KEY_VARIABLE = "METADATA_INVENTORY_TOKEN"

Result = TypeVar("Result")

# Codes of 5xx answers with which the service says that it has done nothing. All 4xx answers say that.
_NOTHING_DONE = frozenset({"queue_full", "too_many_connections"})
# Raised while an answer of an unexpected form is read; RecursionError by JSON that is nested without end.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


class RequestFailed(Exception):
    """The service refused the request, answered in an unexpected form, or did not answer. The text says which.

    `may_be_done`: the service may have done what was asked for. `retry_after_s`: the service limits this client's
    requests, and takes the next one after these seconds.
    """

    def __init__(self, text: str, *, may_be_done: bool = True, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.may_be_done = may_be_done
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """On one line, and without control characters for a terminal: the text may quote the answer."""
        shown = "".join(one if one.isprintable() else " " for one in str(self.args[0]))
        return " ".join(shown.split())


def add_service_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--service",
        type=_read_service_url,
        default="http://localhost:8000",
        metavar="URL",
        help=f"URL of the service (default: %(default)s); its API key is read from {KEY_VARIABLE}",
    )


def ask(service: str, path: str, read: Callable[[Any], Result], body: dict[str, Any] | None = None) -> Result:
    """GET the path, or POST the body to it; `read` makes the result from the answer's JSON. Raises RequestFailed.

    `read` may raise what reading a value of the wrong form raises; that is an answer in an unexpected form.
    """
    content = _send(service, _build_request(service, path, body))
    try:
        return read(json.loads(content))
    except _UNREADABLE as error:
        raise RequestFailed(
            f"{service} answers, but not as this service does: it is another program, or another version."
        ) from error


def _build_request(service: str, path: str, body: dict[str, Any] | None) -> urllib.request.Request:
    request = urllib.request.Request(service.rstrip("/") + path, headers={"Accept": "application/json"})
    if key := os.environ.get(KEY_VARIABLE):
        if not (key.isascii() and key.isprintable()):  # http.client would quote it in its error
            raise RequestFailed(f"{KEY_VARIABLE} must be an API key; it is not shown here.", may_be_done=False)
        request.add_unredirected_header("Authorization", f"Bearer {key}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    return request


def _send(service: str, request: urllib.request.Request) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        raise _read_refusal(service, error) from error
    except HTTPException as error:  # some of them are OSErrors or ValueErrors as well
        raise RequestFailed(f"{service} does not answer in HTTP: {str(error) or type(error).__name__}.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or reason
        unsent = isinstance(reason, (ConnectionRefusedError, socket.gaierror))
        raise RequestFailed(f"{service} does not answer: {words}.", may_be_done=not unsent) from error


def _read_refusal(service: str, error: urllib.error.HTTPError) -> RequestFailed:
    """With the detail of the problem that was answered, or the status alone when its body is no problem."""
    try:
        problem = json.loads(error.read())
        text, code = f"{problem['detail']} [{problem['code']}]", str(problem["code"])
    except (*_UNREADABLE, OSError, HTTPException):
        text, code = f"{service} answered with status {error.code}.", ""
    retry_after = error.headers.get("Retry-After", "")
    limited = code == "rate_limited" and re.fullmatch("[0-9]{1,5}", retry_after)
    return RequestFailed(
        text,
        may_be_done=error.code >= 500 and code not in _NOTHING_DONE,
        retry_after_s=float(retry_after) if limited else None,
    )


def _read_service_url(text: str) -> str:
    """The argument, when it is a URL that requests can be sent to."""
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a bracket that is not closed, a port that is no number
        fits = False
    if not fits or not re.fullmatch(r"[!-~]+", text) or "?" in text or "#" in text or "@" in text:
        raise argparse.ArgumentTypeError(f"it must be http://HOST or http://HOST:PORT, not {text!r}")
    return text
