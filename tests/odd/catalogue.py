"""All cases, and the table of them that the documentation shows: `python -m tests.odd.catalogue` prints it."""

from __future__ import annotations

import sys

from tests.odd import bodies, connections, cookies, framing, headers, http2, redirects, status_lines, tls
from tests.odd.case import Case

THEMES: dict[str, tuple[Case, ...]] = {
    "Before the headers": status_lines.CASES,
    "Headers": headers.CASES,
    "Cookies": cookies.CASES,
    "Framing": framing.CASES,
    "Bodies": bodies.CASES,
    "Connections": connections.CASES,
    "Redirects": redirects.CASES,
    "TLS": tls.CASES,
    "HTTP/2": http2.CASES,
}
CASES = tuple(case for cases in THEMES.values() for case in cases)


def tables() -> str:
    """A Markdown table for each theme. A failure's code is said by the case's own expectation."""
    parts = []
    for theme, cases in THEMES.items():
        rows = [f"| `{case.name}` | {case.does} | {_outcome(case)}{case.says} |" for case in cases]
        head = "| case | the server | the outcome |\n|---|---|---|"
        parts.append("\n".join([f"### {theme}", "", head, *rows, ""]))
    return "\n".join(parts)


def _outcome(case: Case) -> str:
    code = case.expect.facts["code"]
    return f"`{code}`: " if code else ""


if __name__ == "__main__":
    sys.stdout.write(tables())
