"""What operators ask of a running service from the command line: plain requests to its API."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any, NoReturn

TIMEOUT_S = 30.0
# The API key, where the service asks for one; not a flag, which everybody on the machine could read.
TOKEN_VARIABLE = "METADATA_INVENTORY_TOKEN"
STATES = ("waiting", "running", "retrying", "abandoned")
# Problems of which the service knows that it has done nothing; so are all that are the caller's.
_NOTHING_DONE = frozenset({"queue_full", "too_many_connections", "rate_limited"})


class Refused(Exception):
    """The service answered with a problem, or not as it should, or not at all; the text says it.

    `uncertain`: what was asked for may have been done. `retry_after_s`: it is this client's limit, and when to go on.
    """

    def __init__(self, text: str, *, uncertain: bool = True, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.uncertain = uncertain
        self.retry_after_s = retry_after_s


def show_queue(service: str, *, as_json: bool) -> int:
    """Print the queue; the exit status."""
    try:
        queue = _ask(service, "/api/inventory/queue/")
        try:
            table = _table(queue)
        except _MISREAD as error:
            _misunderstand(service, error)
    except Refused as error:
        return _complain(error)
    print(json.dumps(queue, indent=2) if as_json else table)
    return 0


def requeue(service: str, codes: Sequence[str]) -> int:
    """Put everything back that failed with one of the codes (none: all), call by call; the exit status.

    What fails again meanwhile is left alone: else a command would go on for as long as something fails. Where the
    service limits its client's work, the command waits until it may go on.
    """
    total, more = 0, True
    body: dict[str, Any] = {"codes": list(codes)}
    while more:
        try:
            requeued, more, body["failed_before"] = _put_back(service, body)
        except Refused as error:
            if error.retry_after_s is not None:
                time.sleep(error.retry_after_s)
                continue
            print(f"{total} put back" + (" for certain; more may have been" if error.uncertain else ""))
            return _complain(error)
        total += requeued
    print(f"{total} put back")
    return 0


def _put_back(service: str, body: dict[str, Any]) -> tuple[int, bool, str]:
    answer = _ask(service, "/api/inventory/queue/", body)
    try:
        return int(answer["requeued"]), bool(answer["more"]), str(answer["failed_before"])
    except _MISREAD as error:
        _misunderstand(service, error)


def _ask(service: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The answer's JSON; raises Refused."""
    request = urllib.request.Request(service.rstrip("/") + path, headers={"Accept": "application/json"})
    if token := os.environ.get(TOKEN_VARIABLE):
        if not (token.isascii() and token.isprintable()):  # what would be sent is told by the error otherwise
            raise Refused(f"{TOKEN_VARIABLE} holds no API key.", uncertain=False)
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            content = response.read()
    except urllib.error.HTTPError as error:
        raise _refusal(service, error) from error
    except HTTPException as error:  # some of them are OSErrors or ValueErrors as well
        raise Refused(f"{service} does not answer in HTTP: {str(error) or type(error).__name__}.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        unsent = isinstance(reason, (ConnectionRefusedError, socket.gaierror))
        raise Refused(f"{service} does not answer: {reason}.", uncertain=not unsent) from error
    try:
        return json.loads(content)
    except _MISREAD as error:
        _misunderstand(service, error)


# What comes of reading an answer that has another form; RecursionError of JSON that is nested without end.
_MISREAD = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def _misunderstand(service: str, error: BaseException) -> NoReturn:
    raise Refused(f"{service} does not answer as this service does; is it another one, or another version?") from error


def _refusal(service: str, error: urllib.error.HTTPError) -> Refused:
    """The problem that was answered; only the status, where its body is none or does not arrive."""
    try:
        problem = json.loads(error.read())
        text, code = f"{problem['detail']} [{problem['code']}]", problem["code"]
    except (*_MISREAD, OSError, HTTPException):
        text, code = f"{service} answered with status {error.code}.", None
    retry_after = error.headers.get("Retry-After", "")
    limited = code == "rate_limited" and re.fullmatch("[0-9]{1,5}", retry_after)
    return Refused(
        text,
        uncertain=error.code >= 500 and code not in _NOTHING_DONE,
        retry_after_s=float(retry_after) if limited else None,
    )


def _complain(error: Refused) -> int:
    """On one line, and nothing in it that a terminal would obey: it may quote whoever answered."""
    shown = "".join(one if one.isprintable() else " " for one in str(error))
    print(f"error: {' '.join(shown.split())}", file=sys.stderr)
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
