"""The command line: its help, its refusals, and that importing it imports nothing of weight."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metadata_inventory import __version__
from metadata_inventory.cli.serve import FLAGS
from tests.support.running import environment

pytestmark = pytest.mark.timeout(60)


def run(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metadata_inventory", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**environ),
        timeout=30,
        check=False,
    )


def test_version_is_told() -> None:
    assert run("--version").stdout == f"metadata-inventory {__version__}\n"


def test_help_of_serve_shows_the_settings_with_variable_and_default() -> None:
    shown = " ".join(run("serve", "--help", COLUMNS="400").stdout.split())
    for words in (
        "--host HOST Address or host name to listen on",
        "INVENTORY_HOST; default: 127.0.0.1",
        "--port PORT",
        "INVENTORY_PORT; default: 8000",
        "--processes N",
        "INVENTORY_PROCESSES; default: 1",
        "--lanes N",
        "INVENTORY_LANES; default: 2",
        "--data-dir DIR",
        "INVENTORY_DATA_DIR; default: inventory-data",
        "--allow-destination CIDR[:PORT]",
        "--allow-loopback For development: ",
        "INVENTORY_ALLOW_LOOPBACK; default: off",
        "--config FILE TOML file",
        "--log-level LEVEL",
        "MONGO_URI",
    ):
        assert words in shown


def test_no_flag_carries_the_mongo_uri() -> None:
    """Every user of the machine can read the command line of a process."""
    assert "mongo_uri" not in FLAGS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "x"], 'error: --port: port must be a whole number from 0 to 65535, not "x". [invalid_settings]\n'),
        (
            ["--processes", "0"],
            'error: --processes: processes must be a whole number from 1 to 256, not "0". [invalid_settings]\n',
        ),
        (
            ["--config", "absent.toml"],
            "error: The configuration file absent.toml cannot be read: No such file or directory. [invalid_settings]\n",
        ),
    ],
)
def test_wrong_setting_is_one_line_and_status_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    ended = run("serve", *arguments, cwd=tmp_path)
    assert (ended.returncode, ended.stderr, ended.stdout) == (2, message, "")
    assert not os.listdir(tmp_path)


def test_repeated_destinations_are_all_read(tmp_path: Path) -> None:
    ended = run("serve", "--allow-destination", "127.0.0.1", "--allow-destination", "nonsense", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: --allow-destination: ")
    assert "nonsense" in ended.stderr


@pytest.mark.parametrize("arguments", [[], ["sing"], ["serve", "--prot", "1"], ["serve", "--por", "1"]])
def test_wrong_call_is_explained_with_status_2(arguments: list[str]) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: ")


def test_entry_points_import_nothing_of_the_service() -> None:
    """multiprocessing's forkserver imports `__main__` into every lane process."""
    program = (
        "import sys, metadata_inventory.__main__\n"
        "print([name for name in ('tornado', 'pymongo', 'pycurl', 'msgspec', 'argparse') if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True
    )
    assert shown.stdout == "[]\n"
