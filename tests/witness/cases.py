"""Every case, by theme. `docs/witness.md` lists them."""

from __future__ import annotations

from dataclasses import replace

from tests.witness import bodies, cookies, headers, redirects
from tests.witness.case import Case
from tests.witness.differences import DIFFERENCES

CASES: tuple[Case, ...] = tuple(
    replace(case, differences=DIFFERENCES.get(case.name, ()))
    for case in (*headers.CASES, *redirects.CASES, *cookies.CASES, *bodies.CASES)
)
