"""Collects in a process of its own, which then reports by how much its memory has grown: see `weigh`.

`python -m tests.odd.weighing` reads what `weigh` is given as JSON from its standard input.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.collect.conftest import Collecting

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024


def weigh(url: str, before: list[str], at_once: int, options: dict[str, Any]) -> int:
    """The most bytes by which such collections make a fresh process grow, `before` being collected first."""
    order = json.dumps([url, before, at_once, options])
    command = [sys.executable, "-m", "tests.odd.weighing"]
    ended = subprocess.run(command, input=order, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=40)
    return int(ended.stdout)


def _memory(what: str) -> int:
    """VmRSS or VmHWM, its peak, in bytes; proc_pid_status(5). A rusage would begin with the parent's."""
    match = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


def main() -> None:
    url, earlier, at_once, options = json.load(sys.stdin)
    collecting = Collecting().start(**options)
    for one in earlier:
        collecting.capture(one)
    before = _memory("VmRSS")
    left = at_once
    orders = [collecting.order(url) for _ in range(at_once)]
    while left:  # what has been taken over is the parent's affair, and not kept here
        left -= len(collecting.advance(*orders))
        orders = []
    sys.stdout.write(str(_memory("VmHWM") - before))


if __name__ == "__main__":
    main()
