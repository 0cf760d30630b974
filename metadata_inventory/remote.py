"""What operators ask of a running service from the command line: plain requests to its API."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

TIMEOUT_S = 30.0
# The API key, where the service asks for one; not a flag, which everybody on the machine could read.
TOKEN_VARIABLE = "METADATA_INVENTORY_TOKEN"
STATES = ("waiting", "running", "retrying", "abandoned")


class Refused(Exception):
    """The service answered with a problem, or not at all; the text says it."""


def show_queue(service: str, *, as_json: bool) -> int:
    """Print the queue; the exit status."""
    try:
        queue = _ask(service, "/api/inventory/queue/")
    except Refused as error:
        return _complain(error)
    print(json.dumps(queue, indent=2) if as_json else _table(queue))
    return 0


def requeue(service: str, codes: Sequence[str]) -> int:
    """Put everything back that failed with one of the codes (none: all), call by call; the exit status."""
    total, more = 0, True
    while more:
        try:
            answer = _ask(service, "/api/inventory/queue/", {"codes": list(codes)})
        except Refused as error:
            print(f"{total} put back")
            return _complain(error)
        total, more = total + answer["requeued"], answer["more"]
    print(f"{total} put back")
    return 0


def _ask(service: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The answer's JSON; raises Refused."""
    request = urllib.request.Request(service.rstrip("/") + path, headers={"Accept": "application/json"})
    if token := os.environ.get(TOKEN_VARIABLE):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        try:
            problem = json.load(error)
            raise Refused(f"{problem['detail']} [{problem['code']}]") from None
        except (ValueError, KeyError, TypeError):
            raise Refused(f"{service} answered with status {error.code}.") from error
    except (OSError, ValueError) as error:
        raise Refused(f"{service} does not answer: {getattr(error, 'reason', error)}.") from error


def _complain(error: Refused) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1


def _table(queue: dict[str, Any]) -> str:
    lines = [f"{'state':<10} {'jobs':>7}  {'oldest':>9}  {'next due':<24}  last failures"]
    for state in STATES:
        depth = queue[state]
        age = "-" if depth["oldest_age_s"] is None else f"{depth['oldest_age_s']:.0f} s"
        lines.append(
            f"{state:<10} {depth['count']:>7}  {age:>9}  {depth['next_due_at'] or '-':<24}  {_codes(depth['codes'])}"
        )
    lines.append(f"{'failed':<10} {sum(queue['failed'].values()):>7}  {'':>9}  {'':<24}  {_codes(queue['failed'])}")
    lines.append(f"At most {queue['limit']} may wait.")
    lines += [f"{job['lease_until']}  {job['owner']}  {job['normalized_url']}" for job in queue["jobs"]]
    return "\n".join(lines)


def _codes(codes: dict[str, int]) -> str:
    return ", ".join(f"{code} {count}" for code, count in sorted(codes.items())) or "-"
