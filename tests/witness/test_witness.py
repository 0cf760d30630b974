"""The same answer as the service, Debian's curl and Chromium see it: equal, but for what the case declares."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.origin import Origin
from tests.support.running import Service
from tests.witness import chromium, curl, ours
from tests.witness.answers import serve
from tests.witness.case import HOST, Case, Witness, find_differences
from tests.witness.cases import CASES
from tests.witness.seen import Place

pytestmark = pytest.mark.witness

NAMES = (HOST, "other.site.example", "elsewhere.example")


@pytest.fixture(scope="module")
def http() -> Iterator[Origin]:
    with Origin(names=NAMES) as origin:
        yield origin


@pytest.fixture(scope="module")
def https() -> Iterator[Origin]:
    with Origin(tls=True, names=NAMES) as origin:
        yield origin


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.started() as browser:
        yield browser


@pytest.fixture(scope="module")
def witnessed(https: Origin, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service, knowing the names below .example and the origin's authority."""
    assert https.ca_file is not None
    environ = {
        "MONGO_URI": mongo_uri,
        "INVENTORY_DATABASE": f"test_{uuid.uuid4().hex[:12]}",
        "INVENTORY_CA_FILE": https.ca_file,
    }
    resolver = Path(__file__).parent / "resolver"
    directory = tmp_path_factory.mktemp("witnessed")
    with Service(directory, "--allow-destination", "127.0.0.0/8", environ=environ, path=[resolver]) as service:
        service.wait_for_answer()
        yield service


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.slug)
@pytest.mark.parametrize("witness", Witness)
def test_the_witness_sees_the_same(
    case: Case,
    witness: Witness,
    http: Origin,
    https: Origin,
    browser: Browser,
    witnessed: Service,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    place = Place.at(http.port, https.port)
    url = serve(case, http, https)
    our_view = ours.see(witnessed, url, place, witness)
    fields = case.fields(witness)
    if witness is Witness.CURL:
        assert https.ca_file is not None
        their_view = curl.see(url, place, https.ca_file, tmp_path, fields)
    else:
        their_view = chromium.see(browser, url, place, fields)
    assert set(their_view) == set(fields)
    record_property(witness, sum(len(values) for values in their_view.values()))
    declared = {one.path: (one.ours, one.theirs) for one in case.differences if one.witness is witness}
    assert find_differences(our_view, their_view) == declared
