"""Selects the environment variables that child processes get.

On Linux every process of the same user can read a process's environment under /proc. So MONGO_URI, INVENTORY_* and any
keys that the environment holds are withheld: a child gets only the variables listed here.
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
    """The variables of `environ` that a child gets."""
    return {name: value for name, value in environ.items() if is_passed_on(name)}
