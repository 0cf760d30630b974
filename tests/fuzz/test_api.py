"""Sends valid and invalid requests that Schemathesis makes from the OpenAPI document; checks every answer against it.

Nothing leaves the machine: the requested URLs lead to the tests' own origin or to a closed port, or are refused. By
default the requests are the same each time; TEST_FUZZ_EXAMPLES=1000 sends that many for each operation, different ones
each time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from hypothesis import strategies as st

from metadata_inventory.model.urls import normalize
from metadata_inventory.model.view import Record
from metadata_inventory.web.app import ROUTES
from metadata_inventory.web.http.openapi import build_document
from metadata_inventory.web.http.operation import operations
from tests.support.client import post
from tests.support.origin import Origin
from tests.support.running import Service

EXAMPLES = int(os.environ.get("TEST_FUZZ_EXAMPLES", "0"))
# What the collection came to, which is what was asked for; whether it is declared is another check's. 500 never is.
EXPECTED = ["2xx", "3xx", "4xx", "502", "503", "504"]

ORIGIN = "http://origin.test"  # stands for the origin's address, which is known when it runs
PAGE, FAILING, CLOSED = f"{ORIGIN}/fuzzed", f"{ORIGIN}/fuzzed-failing", "http://127.0.0.1:1/fuzzed"
NOWHERE, REFUSED = "http://0x7f.1:1/", ("http://10.0.0.1/", "https://[::ffff:10.0.0.1]:8443/")
URLS = [PAGE, f"{PAGE}?%00&%z#é", FAILING, CLOSED, NOWHERE, *REFUSED]
IDS = [normalize(url).id for url in (CLOSED, NOWHERE)]
SOME_FIELDS = st.lists(st.sampled_from(Record.__struct_fields__), unique=True, max_size=5)

# The document says of these that they are text; what text makes sense is said here, so that it is not only refused.
FORMATS = {
    "url": st.sampled_from(URLS) | st.integers(0, 99).map(lambda number: f"{PAGE}?{number}"),
    "record_id": st.sampled_from(IDS) | st.text("0123456789abcdef", min_size=64, max_size=64),
    "fields": SOME_FIELDS.map(",".join) | SOME_FIELDS.map(lambda names: ",".join(f"-{name}" for name in names)),
}


def load_schema() -> schemathesis.BaseSchema:
    for name, strategy in FORMATS.items():
        schemathesis.openapi.format(name, strategy)
    document = json.loads(json.dumps(build_document(ROUTES)))
    for name, schema in _named_schemas(document):
        if name in FORMATS:
            schema["format"] = name
    loaded = schemathesis.openapi.from_dict(document)
    loaded.config.checks.not_a_server_error.expected_statuses = EXPECTED
    return loaded


def _named_schemas(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for item in document["paths"].values():
        for operation in item.values():
            yield from ((parameter["name"], parameter["schema"]) for parameter in operation["parameters"])
    yield from document["components"]["schemas"]["CollectBody"]["properties"].items()


@pytest.fixture(scope="module")
def prepared(service: Service, shared_origin: Origin) -> Service:
    """The service, with a stored record and a stored failure for the URLs of the requests."""
    shared_origin.page("/fuzzed", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=\x01; Secure"), ("X-É", "é")])
    shared_origin.answer("/fuzzed-failing", b"no HTTP\r\n\r\n")
    for url in URLS:
        post(service, url.replace(ORIGIN, shared_origin.base))
    return service


SCHEMA = load_schema()


def a_test_of(path: str, method: str) -> Callable[..., None]:
    @SCHEMA.include(path=path, method=method).parametrize()
    @settings(max_examples=EXAMPLES or 30, derandomize=not EXAMPLES, deadline=None, database=None)
    def test(case: schemathesis.Case, prepared: Service, shared_origin: Origin) -> None:
        for holder in (case.query, case.body):
            if isinstance(holder, dict) and isinstance(url := holder.get("url"), str):
                holder["url"] = url.replace(ORIGIN, shared_origin.base)
        case.call_and_validate(base_url=prepared.url, timeout=45)

    return test


# A function for each: under pytest 9.2 Schemathesis 4.32 gives all that it makes of one function the same id, of which
# pytest-xdist runs one.
for route in ROUTES:
    for method, _ in operations(route.handler):
        name = re.sub(r"\W+", "_", f"test_{method}_{route.path.strip('/')}_answers_as_declared")
        globals()[name] = a_test_of(route.path, method.upper())
