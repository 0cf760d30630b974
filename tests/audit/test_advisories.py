"""The check of the database's presence. pip-audit itself is installed for `tox run -e audit` only."""

from __future__ import annotations

import pytest

from tests.audit import advisories
from tests.support.origin import Origin


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param("not JSON", 200, id="a page"),
        pytest.param("{}", 200, id="a database that knows nothing"),
        pytest.param("[]", 200, id="another database"),
        pytest.param('{"vulns": [{"id": "PYSEC-2020-173"}]}', 404, id="an error"),
    ],
)
def test_what_is_not_the_database_is_skipped(
    answer: str, status: int, shared_origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    shared_origin.page("/advisories", answer, status)
    assert advisories.main("--osv-url", shared_origin.url("/advisories"), "requirements.txt") == 0
    assert capsys.readouterr().out.startswith("SKIPPED: the packages were not audited")


def test_nobody_there_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert advisories.main("--osv-url", "http://127.0.0.1:1/", "requirements.txt") == 0
    assert "SKIPPED" in capsys.readouterr().out


def test_database_that_tells_of_a_famous_vulnerability_is_asked(shared_origin: Origin) -> None:
    shared_origin.page("/advisories", '{"vulns": [{"id": "PYSEC-2020-173"}]}')
    assert advisories.find_obstacle(shared_origin.url("/advisories")) is None
