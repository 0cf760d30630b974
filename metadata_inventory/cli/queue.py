"""`metadata-inventory queue` and `requeue`: what operators ask of a running service about its jobs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from metadata_inventory.cli.service_client import RequestFailed, add_service_argument, ask

PATH = "/api/inventory/queue/"
STATES = ("waiting", "running", "retrying", "abandoned")


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    queue = commands.add_parser(
        "queue",
        help="show the jobs of a running service",
        description="Show the jobs of a running service, by state, and the failures that it stores.",
        allow_abbrev=False,
    )
    queue.set_defaults(run=show_queue)
    queue.add_argument("--json", action="store_true", help="print the API's answer as it is")
    requeue = commands.add_parser(
        "requeue",
        help="give jobs again to failed entries",
        description="Give jobs again to failed entries: each is collected again, with all its attempts.",
        allow_abbrev=False,
    )
    requeue.set_defaults(run=requeue_failed)
    requeue.add_argument(
        "--code", action="append", default=[], metavar="CODE", help="only what failed with this code; may be repeated"
    )
    for command in (queue, requeue):
        add_service_argument(command)


def show_queue(given: argparse.Namespace) -> int:
    try:
        answer, table = ask(given.service, PATH, lambda answer: (answer, _format_table(answer)))
    except RequestFailed as error:
        return _report(error)
    print(json.dumps(answer, indent=2) if given.json else table)
    return 0


def requeue_failed(given: argparse.Namespace) -> int:
    """Requeue everything that failed with one of the codes (none given: with any), in as many calls as needed.

    Entries that fail again after the first call are left alone; otherwise the command might never end. When the service
    limits this client's requests, the command waits as long as the service says.
    """
    total, more = 0, True
    body: dict[str, Any] = {"codes": given.code}
    while more:
        try:
            requeued, more, body["failed_before"] = ask(given.service, PATH, _read_requeued, body)
        except RequestFailed as error:
            if error.retry_after_s is not None:
                time.sleep(error.retry_after_s)
                continue
            print(f"{total} put back" + (" for certain; more may have been" if error.may_be_done else ""))
            return _report(error)
        total += requeued
    print(f"{total} put back")
    return 0


def _read_requeued(answer: dict[str, Any]) -> tuple[int, bool, str]:
    return int(answer["requeued"]), bool(answer["more"]), str(answer["failed_before"])


def _report(error: RequestFailed) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1


def _format_table(queue: dict[str, Any]) -> str:
    lines = [f"{'state':<10} {'jobs':>7}  {'oldest':>9}  {'next due':<24}  last failures"]
    for state in STATES:
        depth = queue[state]
        age = "-" if depth["oldest_age_s"] is None else f"{depth['oldest_age_s']:.0f} s"
        codes = _format_codes(depth["codes"])
        lines.append(f"{state:<10} {depth['count']:>7}  {age:>9}  {depth['next_due_at'] or '-':<24}  {codes}")
    failed = queue["failed"]
    lines.append(f"{'failed':<10} {sum(failed.values()):>7}  {'':>9}  {'':<24}  {_format_codes(failed)}")
    lines.append(f"At most {queue['limit']} may wait.")
    lines += [f"{job['lease_until']}  {job['owner']}  {job['normalized_url']}" for job in queue["jobs"]]
    return "\n".join(lines)


def _format_codes(codes: dict[str, int]) -> str:
    return ", ".join(f"{code} {count}" for code, count in sorted(codes.items())) or "-"
