"""Checks the pinned packages for known vulnerabilities, by pip-audit and the OSV database: `python -m … LIST…`.

A finding fails. When the database cannot be reached, a line says so and the check passes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.request

URL = "https://api.osv.dev/v1/query"
TIMEOUT_S = 5  # for one answer of the database
DEADLINE_S = 120  # for all of them
# Known for years (CVE-2019-20916): a server that does not report it is not the database but a proxy or a mirror.
VULNERABLE = {"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "19.0"}


def find_obstacle(url: str) -> str | None:
    """The reason why the database cannot be reached; None when it can be."""
    question = urllib.request.Request(url, json.dumps(VULNERABLE).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(question, timeout=TIMEOUT_S) as answer:
            return None if json.load(answer).get("vulns") else "it does not know of a famous vulnerability"
    except (OSError, ValueError, AttributeError) as error:
        return str(error)


def audit(url: str, lists: list[str]) -> int:
    """pip-audit's exit status: 0 when every package was looked up and none is vulnerable."""
    service = ["-s", "osv", "--osv-url", url, "--timeout", str(TIMEOUT_S)]
    options = ["--strict", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
    files = [word for path in lists for word in ("-r", path)]
    command = [sys.executable, "-m", "pip_audit", *service, *options, *files]
    return subprocess.run(command, timeout=DEADLINE_S, check=False).returncode


def main(*words: str) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--osv-url", default=URL)
    parser.add_argument("lists", nargs="+")
    given = parser.parse_args(words)
    obstacle = find_obstacle(given.osv_url)
    if obstacle is None:
        try:
            return audit(given.osv_url, given.lists)
        except subprocess.TimeoutExpired:
            obstacle = f"not all was answered within {DEADLINE_S} s"
    sys.stdout.write(f"SKIPPED: the packages were not audited, {given.osv_url} is out of reach: {obstacle}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
