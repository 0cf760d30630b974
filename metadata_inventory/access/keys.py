"""API keys: their form, the file that holds them, and the check of the key that a request brings.

A key is `mi_<id>_<secret>`. The secret is 256 random bits, so a plain SHA-256 of it is as safe as any slow hash; of the
secret, the file contains this hash alone. The command line makes and revokes keys; it replaces the file as a whole, and
a running service notices that within a second. Without a file, requests need no key.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from metadata_inventory.errors import InvalidSettings

logger = logging.getLogger(__name__)

NOTICED_S = 1.0  # the longest time until a change of the file takes effect
_KEY = re.compile(r"mi_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NO_HASH = "0" * 64


class Scope(StrEnum):
    """The scopes that a key may have."""

    READ = "read"  # read records
    COLLECT = "collect"  # start collections
    ADMIN = "admin"  # read the queue, requeue failed entries


class ApiKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key as the file holds it. `id` is public, `sha256` is the hash of the secret, in hexadecimal."""

    id: Annotated[str, Meta(pattern="^[0-9a-f]{12}$")]
    name: str
    scopes: tuple[Scope, ...]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created_at: datetime


def make_key(name: str, scopes: Sequence[Scope], now: datetime) -> tuple[ApiKey, str]:
    """A new key, and the text that its holder sends. The text is stored nowhere and cannot be had again."""
    secret = secrets.token_urlsafe(32)
    key_id = secrets.token_hex(6)
    key = ApiKey(
        id=key_id, name=name, scopes=tuple(scopes), sha256=_hash(secret), created_at=now.replace(microsecond=0)
    )
    return key, f"mi_{key_id}_{secret}"


def read_keys(path: str | os.PathLike[str]) -> tuple[ApiKey, ...]:
    """The keys of a file. Raises InvalidSettings when it cannot be read or is not a file of keys."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=tuple[ApiKey, ...])
    except OSError as error:
        raise InvalidSettings(f"The keys file {path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidSettings(
            f"The keys file {path} is not a list of API keys, as `metadata-inventory keys add` writes it."
        ) from None


def write_keys(path: str | os.PathLike[str], keys: Sequence[ApiKey]) -> None:
    """Replace the file in one step. Raises OSError.

    A new file can be read by its owner alone. A file that is replaced keeps its owner and mode.
    """
    target = Path(path)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # 0600
    try:
        with open(descriptor, "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                before = target.stat()
                os.fchown(descriptor, before.st_uid, before.st_gid)  # the service's user can still read it
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            file.write(msgspec.json.format(msgspec.json.encode(list(keys))) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


class KeyRing:
    """The keys of the file as it is now. While the file cannot be read, there are none: no key is accepted."""

    def __init__(self, path: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises InvalidSettings."""
        self._path = path
        self._clock = clock
        self._stamp = _stamp(path)
        self._keys = {key.id: key for key in read_keys(path)}
        self._checked_at = clock()

    def find(self, token: str) -> ApiKey | None:
        """The key whose id and secret the token has, compared in constant time; None when there is none."""
        self._reload_changed_file()
        match = _KEY.fullmatch(token)
        key_id, secret = match.groups() if match else ("", "")
        key = self._keys.get(key_id)
        matches = hmac.compare_digest(_hash(secret), key.sha256 if key else _NO_HASH)
        return key if matches else None

    def _reload_changed_file(self) -> None:
        if self._clock() - self._checked_at < NOTICED_S:
            return
        self._checked_at = self._clock()
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._keys = {key.id: key for key in read_keys(self._path)}
            except InvalidSettings as error:  # the change may have revoked the key of this request
                logger.error("no API key is accepted: %s", error)
                self._keys = {}


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _stamp(path: str) -> tuple[int, int, int]:
    """Differs between one version of the file and the next, as a file is replaced and never written in place."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)
