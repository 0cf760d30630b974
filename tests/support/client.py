"""A plain client of the running service, for tests that care about processes and not about the API's shape."""

from __future__ import annotations

import json
import urllib.request
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

from tests.support.running import Service


def get(service: Service, url: str, *, wait_s: int = 0, collect: bool = True) -> tuple[int, Any]:
    query = f"url={quote(url, safe='')}&wait={wait_s}&collect={str(collect).lower()}"
    return send(urllib.request.Request(f"{service.url}/api/metadata/?{query}"))


def post(service: Service, url: str, *, wait_s: int | None = None) -> tuple[int, Any]:
    body = json.dumps({"url": url}).encode()
    headers = {"Content-Type": "application/json"}
    query = "" if wait_s is None else f"?wait={wait_s}"
    return send(urllib.request.Request(f"{service.url}/api/metadata/{query}", body, headers))


def send(request: urllib.request.Request, timeout_s: float = 45) -> tuple[int, Any]:
    """The answer's status, and its JSON value; its bytes when the answer is not JSON."""
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            body = response.read()
            return response.status, json.loads(body) if response.headers["Content-Type"] == "application/json" else body
    except HTTPError as error:
        return error.code, json.load(error)
