"""The lists of pinned packages: nothing is installed from them that is not exactly what was looked at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.running import ROOT

LISTS = sorted(
    path for folder in ("", "conf", "tests", "tests/*") for path in ROOT.glob(f"{folder}/requirements*.txt".lstrip("/"))
)


def test_every_list_that_is_installed_from_is_looked_at() -> None:
    installed = {
        name
        for file in ("tox.ini", "CONTRIBUTING.md", "Dockerfile")
        for name in re.findall(r"-r ([\w/-]+\.txt)", (ROOT / file).read_text())
    }
    assert len(installed) > 5
    found = {str(path.relative_to(ROOT)) for path in LISTS}
    assert {name if (ROOT / name).exists() else f"conf/{name}" for name in installed} <= found


@pytest.mark.parametrize("pinned", LISTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_package_is_one_version_with_its_hashes(pinned: Path) -> None:
    """pip asks for every hash as soon as a list has one; a list without any is what it would pass over."""
    entries = [line for line in re.sub(r"\\\n", " ", pinned.read_text()).splitlines() if line and line[0] not in " #"]
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^ ;]+ ", entry), entry
        assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", entry), entry


def test_the_image_takes_nothing_without_a_hash() -> None:
    installs = re.findall(r"/pip install (.*?)(?: \\)?$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(installs) == 3
    for options in installs:
        assert "--require-hashes" in options or "--no-deps --no-index" in options, options
