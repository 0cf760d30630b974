"""The program with mounts of its own: a disk of a few megabytes, a resolv.conf that names the test's DNS server.

By unshare(1): as root, else in a user namespace, where the system allows that.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest


def with_mount(*mount: str) -> list[str]:
    """The command that starts the program after `mount` with these arguments, seen by it and its children only."""
    return [
        *_unshare(),
        "sh",
        "-c",
        f'mount {" ".join(mount)} && exec "$@"',
        "sh",
        sys.executable,
        "-m",
        "metadata_inventory",
    ]


@functools.cache
def _unshare() -> list[str]:
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/tmp"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"mounts of its own need root, or user namespaces that are allowed: {error}")
    return command
