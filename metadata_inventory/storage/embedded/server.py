"""SecantusDB as a program: how it is found and called, which port it gets, whether it answers, how it is ended.

It is a separate program, reached over MongoDB's wire protocol and never imported.
"""

from __future__ import annotations

import contextlib
import importlib.util
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from metadata_inventory.errors import EmbeddedDatabaseFailed

if TYPE_CHECKING:
    from typing import Any

    from pymongo import MongoClient

HOST = "127.0.0.1"
# Below the range that Linux takes ports of outgoing connections from (32768–60999 by default). Within it, a collector's
# connection could occupy the port while the database is being replaced, and so could a client that tries to reach it:
# a connect to a free loopback port of that range now and then gets the port itself as its source (a self-connect).
PORTS = range(20_000, 32_000)
# WiredTiger's cache. The program's own default of 1 GiB is much for a laptop on which the service is tried out.
CACHE_SIZE = "256M"

_EXIT_POLL_S = 0.1
# A SIGTERM is sent again after so many polls at which the program still accepted connections.
_RESEND_AFTER = 6


def find_program() -> list[str]:
    """The command that runs SecantusDB: as a module of our own interpreter, or a script installed elsewhere.

    Raises EmbeddedDatabaseFailed.
    """
    if importlib.util.find_spec("secantus") is not None:
        return [sys.executable, "-P", "-m", "secantus"]
    script = shutil.which("secantusd-py")
    if script is None:
        raise EmbeddedDatabaseFailed(
            "SecantusDB is not installed. Install it (pip install 'metadata-inventory[embedded]'), "
            "or set MONGO_URI to a MongoDB."
        )
    return [script]


def build_command(data_dir: Path, port: int, *, with_password: bool, enable_test_commands: bool) -> list[str]:
    """The whole command line. Writes the program's configuration file into the data directory."""
    # Always given: without it the program reads a secantusd.toml of the working or the home directory.
    config = data_dir / "database.toml"
    config.write_text("# Left empty on purpose: the embedded database is configured by its command line.\n")
    command = [*find_program(), "--config", str(config), "--host", HOST, "--port", str(port)]
    command += ["--storage-path", str(data_dir / "database"), "--standalone", "--log-level", "WARNING"]
    command += ["--cache-size", CACHE_SIZE]
    if with_password:
        command.append("--auth")
    if enable_test_commands:
        command.append("--enable-test-commands")
    return command


def choose_port() -> int:
    """A free port. Another program may take it first: the caller has to notice that, and choose another.

    Raises EmbeddedDatabaseFailed.
    """
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise EmbeddedDatabaseFailed(f"There is no free port from {PORTS.start} to {PORTS.stop - 1} on {HOST}.")


def listens(port: int) -> bool:
    """Whether a program accepts connections on the port. Cheap: the driver would try only twice a second."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def answering_pid(uri: str) -> int | None:
    """The process id that the server gives as its own, None without an answer. It tells our process from another."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    client: MongoClient[dict[str, Any]]
    client = MongoClient(uri, serverSelectionTimeoutMS=1000, timeoutMS=2000)
    try:
        pid = client.admin.command("serverStatus").get("pid")
        return None if pid is None else int(pid)
    except PyMongoError:
        return None
    finally:
        client.close()


def end_gently(process: subprocess.Popen[bytes], port: int, grace_s: float) -> None:
    """Send SIGTERM and wait up to `grace_s` for the end, with what SecantusDB 0.7.0b3 needs to notice the signal.

    Its end waits 2 s for a thread that sleeps in accept(); a connection wakes that thread. About one SIGTERM in thirty
    reaches a thread that is not Python's main thread, which then sleeps on. A program that goes on accepting
    connections has not noticed, and gets the signal again; not sooner, since a second one would interrupt its end.
    """
    deadline = time.monotonic() + grace_s
    process.terminate()
    accepted = 0
    while time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_POLL_S)
            return
        if listens(port):
            accepted += 1
            if accepted % _RESEND_AFTER == 0:
                process.terminate()
