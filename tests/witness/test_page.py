"""`docs/witness.md` lists every case with what is compared of it, and explains every difference. Runs everywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.witness.case import Case, Difference, Witness
from tests.witness.cases import CASES
from tests.witness.differences import DIFFERENCES

PAGE = (Path(__file__).parents[2] / "docs" / "witness.md").read_text()


def row(case: Case) -> str:
    """The case's line of the table."""
    fields = [", ".join(case.fields(witness)) for witness in Witness]
    reasons = "; ".join(dict.fromkeys(f"{one.witness}: {one.reason}" for one in case.differences))
    return f"| {' | '.join((case.name, *fields, reasons or '–'))} |"


def section(title: str) -> list[str]:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0].splitlines()


def test_page_lists_every_case_with_the_fields_compared_and_its_differences() -> None:
    rows = [line for line in section("Cases") if line.startswith("| ")]
    assert rows[1:] == [row(case) for case in CASES]


def test_page_explains_every_difference() -> None:
    titles = [line.removeprefix("### ") for line in section("Differences") if line.startswith("### ")]
    assert titles == list(dict.fromkeys(one.reason for case in CASES for one in case.differences))


def test_page_says_how_many_values_differ() -> None:
    differences: list[Difference] = [one for case in CASES for one in case.differences]
    told = f"{len(differences)} values differ, in {len({case.name for case in CASES if case.differences})} cases"
    assert told in PAGE.replace("\n", " ")


def test_cases_have_names_and_paths_of_their_own() -> None:
    assert len(CASES) >= 30
    assert [name for name, count in Counter(case.slug for case in CASES).items() if count > 1] == []
    assert set(DIFFERENCES) <= {case.name for case in CASES}
