"""Starts the program with mounts of its own: a disk of a few megabytes, a resolv.conf with the test's DNS server.

Uses unshare(1): as root, or else in a user namespace where the system allows one.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest


def with_mount(*mount: str) -> list[str]:
    """The command that calls `mount` with these arguments and starts the program; only its processes see the mount."""
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
