"""What the documentation shows is what happens."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from metadata_inventory import errors
from metadata_inventory.collect.parse.set_cookie import CookieFlaw
from metadata_inventory.model.capture import CodingError, FailureCode
from metadata_inventory.model.policy import retryable
from metadata_inventory.model.view import Record
from metadata_inventory.web.app import ROUTES
from metadata_inventory.web.http.problem import HTTP_CODES, status_of, status_of_failure
from tests.support.client import send
from tests.support.origin import Origin
from tests.support.running import Service

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "metadata_inventory"
README = (ROOT / "README.md").read_text()
RECORD = (ROOT / "docs" / "record.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
RECIPES = CONTRIBUTING.split("\n## Recipes\n")[1].split("\n## ")[0]

REQUEST = re.compile(r"```http\n(?P<method>\w+) (?P<path>\S+)\n(?P<headers>(?:[\w-]+: .*\n)*)(?:\n(?P<body>.+)\n)?```")


def curl(command: str, base: str, page: str) -> urllib.request.Request:
    """The request that a curl command of the README makes, at our service and about our page."""
    words = shlex.split(command.replace("http://localhost:8000", base).replace("https://example.com/", page))
    assert words[0] == "curl"
    request = urllib.request.Request(next(word for word in words if word.startswith(base)))
    for option, value in itertools.pairwise(words):
        if option == "-H":
            request.add_header(*value.split(": "))
        if option == "-d":
            request.data = value.encode()
    return request


@pytest.mark.service
def test_first_request_of_the_readme_answers_as_shown(deployed_service: Service, shared_origin: Origin) -> None:
    service = deployed_service
    page = shared_origin.url("/")
    first, second = re.findall(r"```sh\n(curl .*)\n```", README)
    status, record = send(curl(first, service.url, page))
    assert status == 201
    shown = json.loads(re.findall(r"```json\n(.*?)```", README, re.DOTALL)[0])
    assert [name for name in record if name in shown] == [name for name in shown if name in record]
    assert set(shown) <= set(record)
    assert {name: type(value) for name, value in shown.items()} == {name: type(record[name]) for name in shown}
    assert set(shown["exchanges"][0]) <= set(record["exchanges"][0])
    assert shown["status"] == record["status"]

    status, again = send(curl(second.replace("https%3A%2F%2Fexample.com%2F", page), service.url, page))
    assert (status, again) == (200, record)


def test_requests_of_the_api_page_answer_as_they_say(service: Service) -> None:
    """In order, since a reader makes them in order; example.com is played by an origin of our own."""
    with Origin() as origin:
        origin.page("/new", "new")
        record_id = ""
        shown = list(REQUEST.finditer(API))
        assert len(shown) >= 9
        for request in shown:
            status = int(re.match(r"\s+answers `(\d+)`", API[request.end() :])[1])  # type: ignore[index]
            path, body = request["path"], request["body"]
            path = path.replace("https%3A%2F%2Fexample.com%2F", origin.url("/"))
            path = re.sub(r"[0-9a-f]{64}", record_id, path)
            if body:
                body = body.replace("https://example.com/", origin.url("/"))
            made = urllib.request.Request(service.url + path, body.encode() if body else None, method=request["method"])
            for line in request["headers"].splitlines():
                made.add_header(*line.split(": "))
            answered, value = send(made)
            assert answered == status, (request[0], value)
            record_id = value.get("id", record_id) if isinstance(value, dict) else record_id


def test_api_page_names_every_path_of_the_api() -> None:
    assert [route.path for route in ROUTES if route.path.replace("{record_id}", "{id}") not in API] == []


def rows(title: str) -> dict[str, list[str]]:
    """Of the table under a title: first column → the other columns."""
    section = API.split(f"\n## {title}\n")[1].split("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "| `" in line[:3]
    ]
    return {first.strip("`"): others for first, *others in cells}


def family(error: type[errors.InventoryError]) -> list[type[errors.InventoryError]]:
    return [error, *(one for subclass in error.__subclasses__() for one in family(subclass))]


def test_every_error_code_is_documented_with_its_status() -> None:
    hidden = set(family(errors.StartError))
    served = {error.code: status_of(error) for error in family(errors.InventoryError) if error not in hidden}
    served |= {code: status for status, code in HTTP_CODES.items()}
    assert {code: int(columns[0]) for code, columns in rows("Errors").items()} == served


@pytest.mark.parametrize("code", FailureCode)
def test_every_failure_code_is_documented(code: FailureCode) -> None:
    status, retried, _ = rows("Failures")[code]
    assert status.startswith(str(status_of_failure(code, hops=1)))
    assert (retried != "no") == retryable(code)


def test_no_other_failure_code_is_documented() -> None:
    assert set(rows("Failures")) == set(FailureCode)


def first_column(section: str) -> list[str]:
    return [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]


def paths(shape: dict[str, Any], components: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Every field of a JSON schema, an item's fields behind `[]`."""
    shape = components[shape["$ref"]] if "$ref" in shape else shape
    for option in shape.get("anyOf", []):
        yield from paths(option, components, prefix)
    if isinstance(shape.get("items"), dict):
        yield from paths(shape["items"], components, f"{prefix}[]")
    for name, inner in shape.get("properties", {}).items():
        path = f"{prefix}.{name}" if prefix else name
        yield path
        yield from paths(inner, components, path)


def test_record_page_describes_every_field_once() -> None:
    (shape,), components = msgspec.json.schema_components([Record], ref_template="{name}")
    fields = first_column(RECORD.split("## Flaws")[0])
    assert sorted(fields) == sorted(paths(shape, components))


def test_record_page_lists_every_flaw_with_its_meaning() -> None:
    section = RECORD.split("## Flaws")[1].split("## What")[0]
    assert first_column(section) == [flaw.value for flaw in CookieFlaw]


def test_record_page_lists_every_coding_error() -> None:
    (line,) = [line for line in RECORD.splitlines() if line.startswith("| `body.coding_error`")]
    assert set(re.findall(r"`(\w+_codings?)`", line)) == set(get_args(CodingError))


def links(text: str) -> list[Any]:
    return [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]


def test_tests_that_the_documentation_names_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"`(tests/[\w/]+\.py::\w+)`", page.read_text())}
    assert len(named) > 50
    for name in named:
        file, _, test = name.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(), name


def test_tests_that_the_recipes_name_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", RECIPES))
    assert len(named) > 10
    defined = {
        name for file in ROOT.glob("tests/**/test_*.py") for name in re.findall(r"def (test_\w+)\(", file.read_text())
    }
    assert named - defined == set()


def test_files_and_folders_that_the_recipes_name_exist() -> None:
    named = set(re.findall(r"`((?:[\w.]+/)+(?:[\w.]+\.\w+)?)`", RECIPES))
    assert len(named) > 10
    assert {name for name in named if not (ROOT / name).exists() and not (PACKAGE / name).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page.read_text()):
        assert (page.parent / target).exists(), target


def test_modules_that_the_design_names_exist() -> None:
    table = (ROOT / "docs" / "design.md").read_text().split("## Which module does what")[1].split("\n## ")[0]
    for name in re.findall(r"`([\w/]+\.py|\w+/)`", table):
        assert (PACKAGE / name).exists(), name
