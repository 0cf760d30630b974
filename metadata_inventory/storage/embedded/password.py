"""The password of the embedded database: its file, and the one user that logs in with it.

The file belongs to the user that the service runs as, and nobody else can read it. It exists only after the database
has asked for the password once, and had no user but ours.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from metadata_inventory.errors import EmbeddedDatabaseFailed

if TYPE_CHECKING:
    from typing import Any

    from pymongo import MongoClient

logger = logging.getLogger(__name__)

USER = "inventory"


def read_password(path: Path) -> str:
    """The password, "" without such a file. A file that others can read is made private.

    Raises EmbeddedDatabaseFailed when it is not a regular file of this user, and OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    with open(descriptor, encoding="ascii") as file:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
            raise EmbeddedDatabaseFailed(
                f"{path}, which holds the embedded database's password, is not a file of the user that the service "
                "runs as. Run it as that file's owner, or remove the file: another password is made then."
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.fchmod(descriptor, 0o600)
            logger.warning(
                "others could read or change %s, which holds the embedded database's password; its mode is 0600 now. "
                "Users who read it still know the password: without that file, the next start makes another one",
                path,
            )
        return file.read().strip()


def keep_password(path: Path, password: str) -> None:
    """Write the file, durably and whole: it appears under its name when everything is in it. Raises OSError."""
    unfinished = path.with_suffix(".unfinished")
    # A file or link that is there already could be readable for others: the password goes into a new file only.
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(password)
        file.flush()
        os.fsync(descriptor)
    unfinished.replace(path)


def make_user(uri: str, password: str) -> None:
    """Make the one user, and remove all others, such as the user of a start that was interrupted."""
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, timeoutMS=10_000) as client:
        for database in {database for database, _ in read_users(uri)}:
            client[database].command("dropAllUsersFromDatabase")
        client.admin.command("createUser", USER, pwd=password, roles=["root"])


def read_users(uri: str) -> list[tuple[str, str]]:
    """Every user, with the database that it logs in to. SecantusDB 0.7 does not know usersInfo's `forAllDBs`."""
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, timeoutMS=10_000) as client:
        users: list[dict[str, Any]] = list(client.admin["system.users"].find())
    return [(user["db"], user["user"]) for user in users]
