"""API keys: made, listed and revoked on the command line, and checked against the file as it changes."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metadata_inventory.access.keys import NOTICED_S, KeyRing, Scope, make_key, read_keys, write_keys
from metadata_inventory.cli.keys import add_key
from metadata_inventory.clock import now
from metadata_inventory.errors import InvalidSettings
from tests.support.running import environment


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def run(*arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "metadata_inventory", "keys", *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_key_is_made_listed_and_revoked_on_the_command_line(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.json")
    status, text, _ = run("add", "ci", "--scope", "collect", "--scope", "read", "--file", file)
    assert status == 0
    assert re.fullmatch(r"mi_[0-9a-f]{12}_[\w-]{43}\n", text)
    assert run("add", "ops", "--scope", "admin", "--file", file)[0] == 0
    key_id = text.split("_")[1]
    status, listed, _ = run("list", "--file", file)
    assert status == 0
    assert re.search(rf"^{key_id}  .*  collect,read +ci$", listed, re.MULTILINE)
    assert text.strip().split("_", 2)[2] not in listed + Path(file).read_text(), "the secret is kept nowhere"

    ring = KeyRing(file)
    found = ring.find(text.strip())
    assert found is not None
    assert (found.name, found.scopes) == ("ci", (Scope.COLLECT, Scope.READ))
    assert run("revoke", key_id, "--file", file)[0] == 0
    assert [key.name for key in read_keys(file)] == ["ops"]
    assert run("revoke", key_id, "--file", file)[0] == 1


def test_commands_at_once_undo_nothing_of_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "keys.json")
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda name: add_key(file, str(name), None), range(50))) == [0] * 50
    assert {key.name for key in read_keys(file)} == {str(name) for name in range(50)}


def test_time_of_a_key_is_in_whole_seconds() -> None:
    made_at = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert make_key("a", [Scope.READ], made_at)[0].created_at == made_at.replace(microsecond=0)


def test_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", [])
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


@pytest.mark.parametrize("change", ["", "x", "id", "secret", "longer"])
def test_what_is_not_the_whole_key_proves_nothing(tmp_path: Path, change: str) -> None:
    key, text = make_key("a", [Scope.READ], now())
    other, other_text = make_key("b", [Scope.READ], now())
    write_keys(tmp_path / "keys", [key, other])
    ring = KeyRing(str(tmp_path / "keys"))
    forged = {
        "": "",
        "x": "x",
        "id": f"mi_{other.id}_{text.split('_', 2)[2]}",
        "secret": text[:-1] + ("A" if text[-1] != "A" else "B"),
        "longer": text + "A",
    }
    assert ring.find(forged[change]) is None
    assert ring.find(text) == key
    assert ring.find(other_text) == other


def test_change_of_the_file_is_noticed_and_with_a_broken_one_no_key_counts(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    first, first_text = make_key("a", [Scope.READ], now())
    second, second_text = make_key("b", [Scope.READ], now())
    write_keys(file, [first])
    clock = Clock()
    ring = KeyRing(str(file), clock=clock)
    write_keys(file, [second])
    clock.now += NOTICED_S
    assert ring.find(first_text) is None
    assert ring.find(second_text) == second
    file.write_text("[{")
    clock.now += NOTICED_S
    assert ring.find(second_text) is None
    write_keys(file, [second])
    clock.now += NOTICED_S
    assert ring.find(second_text) == second
    file.unlink()
    clock.now += NOTICED_S
    assert ring.find(second_text) is None


def test_file_that_was_there_keeps_its_owner_and_mode(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", [])
    (tmp_path / "keys").chmod(0o640)
    if os.geteuid() == 0:
        os.chown(tmp_path / "keys", 65534, 65534)
    before = (tmp_path / "keys").stat()
    write_keys(tmp_path / "keys", [])
    after = (tmp_path / "keys").stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


@pytest.mark.parametrize("content", [None, b"", b"{}", b'[{"id": "1"}]', b"\xff"])
def test_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidSettings):
        read_keys(file)
    status, _, complaint = run("list", "--file", str(file))
    assert status == 1
    assert complaint.startswith(f"error: The keys file {file} ")
    assert "$" not in complaint, "no library's phrase"
