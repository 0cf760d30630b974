"""What of the environment is passed on to child processes.

A process's environment is read by every process below it and, on Linux, by everything of the same user under /proc.
MONGO_URI, INVENTORY_* and whatever keys stand there besides are not for children: there is a list of what is.
"""

from __future__ import annotations

from collections.abc import Mapping

PASSED_ON = frozenset(
    {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "RES_OPTIONS", "LOCALDOMAIN", "VIRTUAL_ENV", "LD_LIBRARY_PATH"}
)
PASSED_ON_PREFIXES = ("LC_", "PYTHON", "SSL_CERT_", "COVERAGE_")


def is_passed_on(name: str) -> bool:
    return name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that a child gets."""
    return {name: value for name, value in environ.items() if is_passed_on(name)}
