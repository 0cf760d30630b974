"""The benchmarks run; what they measure is not judged here."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.running import ROOT, environment


@pytest.mark.service
def test_serving_prints_its_ratio_and_its_rates() -> None:
    command = [sys.executable, "-m", "benchmarks.serving", "--rounds", "1", "--requests", "20", "--urls", "3"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"a stored record of [\d,]+ bytes: [\d,]+/s, \d\.\d\d of a bare handler", done.stdout)
    assert re.search(r"unknown URLs, asked for until they are stored: [\d,]+/s", done.stdout)
