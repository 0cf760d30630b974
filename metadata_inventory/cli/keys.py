"""`metadata-inventory keys`: what an operator does with the file of API keys. Prints; returns the exit status."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from metadata_inventory.access.keys import ApiKey, Scope, make_key, now, read_keys, write_keys
from metadata_inventory.errors import InvalidSettings


def add(path: str, name: str, scopes: Sequence[str] | None) -> int:
    """Make a key, and the file when there is none; the key itself is all that goes to standard output."""
    try:
        with _alone(path):
            keys = read_keys(path) if Path(path).exists() else ()
            key, text = make_key(name, [Scope(scope) for scope in scopes or (Scope.READ, Scope.COLLECT)], now())
            write_keys(path, [*keys, key])
    except (InvalidSettings, OSError) as error:
        return _complain(error)
    print(text)
    print(f"Key {key.id} for {name} ({', '.join(key.scopes)}). It is not shown again.", file=sys.stderr)
    return 0


def show(path: str) -> int:
    try:
        keys = read_keys(path)
    except InvalidSettings as error:
        return _complain(error)
    for key in keys:
        print(f"{key.id}  {key.created_at:%Y-%m-%d %H:%M}  {','.join(key.scopes):<20}  {key.name}")
    return 0


def revoke(path: str, key_id: str) -> int:
    try:
        with _alone(path):
            keys = read_keys(path)
            left: list[ApiKey] = [key for key in keys if key.id != key_id]
            if len(left) == len(keys):
                print(f"error: there is no key {key_id} in {path}", file=sys.stderr)
                return 1
            write_keys(path, left)
    except (InvalidSettings, OSError) as error:
        return _complain(error)
    print(f"Key {key_id} is revoked.", file=sys.stderr)
    return 0


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """No other command changes the file meanwhile, and undoes what this one does. Raises OSError."""
    directory = os.open(Path(path).parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _complain(error: InvalidSettings | OSError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1
