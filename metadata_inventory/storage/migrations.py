"""The versions of the stored shapes, and the steps by which older ones become the present one while they are read.

Capture, failure and job are sub-documents that are each written as a whole. Each carries the version of its shape in
its field `version`; one without it has version 1. Reading upgrades: a step is a pure function from the fields of one
version to the fields of the next, and nothing is written back.

A shape changes when a field is added, removed, renamed or gets another meaning. To change one: raise its constant, add
the step to `_STEPS`, let the claim carry older jobs over (`claims._claimed_job`), and keep a document of the new one
as a fixture (`tests/storage/shapes/`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

Part = Literal["capture", "failure", "job"]
Fields = Mapping[str, Any]
Step = Callable[[Fields], Fields]

CAPTURE_VERSION = 2
FAILURE_VERSION = 1
JOB_VERSION = 2

VERSIONS: Mapping[Part, int] = {"capture": CAPTURE_VERSION, "failure": FAILURE_VERSION, "job": JOB_VERSION}


class ShapeUnreadable(Exception):
    """A document cannot be read. The text says which part or field is to blame, and quotes no stored text."""


def read_version(part: Part, fields: Fields) -> int:
    """The version of a part's shape. Raises ShapeUnreadable when it is newer than this program, or not a version."""
    version = fields.get("version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ShapeUnreadable(f"the field {part}.version is not a version")
    if version > VERSIONS[part]:
        raise ShapeUnreadable(f"its {part} has the newer version {version}; this program knows {VERSIONS[part]}")
    return version


def upgrade(part: Part, fields: Fields) -> Fields:
    """The fields in the present shape. Raises as `read_version`, and when a step does not find what it needs."""
    for version in range(read_version(part, fields), VERSIONS[part]):
        try:
            fields = _STEPS[part, version](fields)
        except (LookupError, TypeError, ValueError, AttributeError):
            raise ShapeUnreadable(f"its {part} cannot be upgraded from version {version}") from None
    return fields


def _add_summary(capture: Fields) -> Fields:
    """Captures had no `summary` until 2026-11-23. Their pages are not parsed again: null, as for a page without one."""
    return {"summary": None, **capture}


def _add_losses_and_kept(job: Fields) -> Fields:
    """Jobs had no `losses` and no `kept` until 2026-11-23: nothing was counted, and unfinished captures ended them.

    `host`, which came with `kept`, serves queries only and is written by the next claim.
    """
    return {"losses": 0, "kept": None, **job}


# (part, version) → the step from that version to the next.
_STEPS: Mapping[tuple[Part, int], Step] = {
    ("capture", 1): _add_summary,
    ("job", 1): _add_losses_and_kept,
}
