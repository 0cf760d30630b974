"""`metadata-inventory keys add`, `list` and `revoke`: what operators do with the file of API keys.

Each command prints and returns its exit status: 0, or 1 when the file cannot be used or has no such key.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from metadata_inventory.access.keys import Scope, make_key, read_keys, write_keys
from metadata_inventory.clock import now
from metadata_inventory.errors import InvalidSettings
from metadata_inventory.service.settings import DECLARATIONS


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    keys = commands.add_parser(
        "keys", help="make, list and revoke API keys", description="Make, list and revoke the API keys of a service."
    )
    actions = keys.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a key; it is shown once", allow_abbrev=False)
    add.set_defaults(run=lambda given: add_key(given.file, given.name, given.scope))
    add.add_argument("name", metavar="NAME", help="who or what uses the key")
    add.add_argument(
        "--scope",
        action="append",
        choices=[str(scope) for scope in Scope],
        help="what the key allows; may be repeated (default: read and collect)",
    )
    show = actions.add_parser("list", help="list the keys, without their secrets", allow_abbrev=False)
    show.set_defaults(run=lambda given: list_keys(given.file))
    revoke = actions.add_parser("revoke", help="revoke a key; a service notices within a second", allow_abbrev=False)
    revoke.set_defaults(run=lambda given: revoke_key(given.file, given.id))
    revoke.add_argument("id", metavar="ID", help="as listed; the part of the key between its underscores")
    variable = DECLARATIONS["keys_file"].variable
    file = os.environ.get(variable)
    for action in (add, show, revoke):
        action.add_argument(
            "--file",
            required=not file,
            default=file,
            metavar="FILE",
            help=f"the file of keys, as in the setting keys_file ({variable})",
        )


def add_key(path: str, name: str, scopes: Sequence[str] | None) -> int:
    """Make a key, and the file when there is none. Only the key goes to standard output, for use in scripts."""
    try:
        with _lock(path):
            keys = read_keys(path) if Path(path).exists() else ()
            key, text = make_key(name, [Scope(scope) for scope in scopes or (Scope.READ, Scope.COLLECT)], now())
            write_keys(path, [*keys, key])
    except (InvalidSettings, OSError) as error:
        return _report(error)
    print(text)
    print(f"Key {key.id} for {name} ({', '.join(key.scopes)}). It is not shown again.", file=sys.stderr)
    return 0


def list_keys(path: str) -> int:
    try:
        keys = read_keys(path)
    except InvalidSettings as error:
        return _report(error)
    for key in keys:
        print(f"{key.id}  {key.created_at:%Y-%m-%d %H:%M}  {','.join(key.scopes):<20}  {key.name}")
    return 0


def revoke_key(path: str, key_id: str) -> int:
    try:
        with _lock(path):
            keys = read_keys(path)
            remaining = [key for key in keys if key.id != key_id]
            if len(remaining) == len(keys):
                print(f"error: there is no key {key_id} in {path}", file=sys.stderr)
                return 1
            write_keys(path, remaining)
    except (InvalidSettings, OSError) as error:
        return _report(error)
    print(f"Key {key_id} is revoked.", file=sys.stderr)
    return 0


@contextlib.contextmanager
def _lock(path: str) -> Iterator[None]:
    """Keep other commands from changing the file meanwhile: one of the two changes would be lost. Raises OSError.

    The directory is locked, as the file itself is replaced by each change.
    """
    directory = os.open(Path(path).parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _report(error: InvalidSettings | OSError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1
