"""API keys and scopes, the limit of each client, the Host header, pages of other sites, and the security headers."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders
from tornado.ioloop import IOLoop

from metadata_inventory.access.keys import Scope, make_key, read_keys, write_keys
from metadata_inventory.clock import now
from metadata_inventory.web.app import ROUTES
from metadata_inventory.web.http.operation import operations
from metadata_inventory.web.http.security_headers import SECURITY_HEADERS
from tests.support.origin import Origin
from tests.support.running import Service, with_database
from tests.support.waiting import wait_until_async
from tests.web.client import Answer, Api

JSON = {"Content-Type": "application/json"}
TOOLS = "https://tools.example.com"
BURST = 3


class Guarded:
    """A service with API keys in force, one allowed origin and a limit of work; `tokens` has a key for each name."""

    def __init__(self, service: Service, keys_file: Path, tokens: dict[str, str]) -> None:
        self.service = service
        self.keys_file = keys_file
        self.tokens = tokens


@pytest.fixture(scope="module")
def guarded(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("guarded")
    keys, tokens = [], {}
    scopes: dict[str, list[Scope]] = {
        "reader": [Scope.READ],
        "collector": [Scope.READ, Scope.COLLECT],
        "blind": [Scope.COLLECT],
        "admin": [Scope.ADMIN],
        "limited": [Scope.READ, Scope.COLLECT],
        "operator": [Scope.COLLECT, Scope.ADMIN],
    }
    for name, allowed in scopes.items():
        key, tokens[name] = make_key(name, allowed, now())
        keys.append(key)
    write_keys(directory / "keys", keys)
    environ = with_database(
        mongo_uri,
        INVENTORY_KEYS_FILE=str(directory / "keys"),
        INVENTORY_CORS_ORIGINS=TOOLS,
        INVENTORY_CLIENT_RATE_PER_S="0.5",
        INVENTORY_CLIENT_BURST=str(BURST),
    )
    with Service(directory, "--allow-destination", "127.0.0.0/8", environ=environ) as service:
        service.wait_for_answer()
        yield Guarded(service, directory / "keys", tokens)


@pytest.fixture
def closed(io_loop: IOLoop, guarded: Guarded) -> Iterator[Api]:
    async def open_api() -> Api:
        return Api(guarded.service.url)

    api = io_loop.run_sync(open_api)
    yield api
    api.close()


def bearer(guarded: Guarded, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {guarded.tokens[name]}"}


def code(answer: Answer) -> tuple[int, Any]:
    return answer.status, answer.json.get("code")


async def every_operation(api: Api, headers: dict[str, str]) -> list[tuple[Scope | None, Answer]]:
    """Call every operation of the route table, without starting a collection; each scope with the answer."""
    answers = []
    for route in ROUTES:
        for method, declared in operations(route.handler):
            path = re.sub(r"{\w+}", "0" * 64, route.path)
            query = {"url": "http://127.0.0.1:9/", "collect": "false"} if route.path == "/api/metadata/" else {}
            if method != "get":
                query = {}
            body = b"{}" if method == "post" else None
            answers.append((declared.scope, await api.send(method.upper(), path, headers=headers, body=body, **query)))
    return answers


@pytest.mark.gen_test
async def test_every_operation_but_health_and_document_asks_for_a_key(closed: Api) -> None:
    answers = await every_operation(closed, JSON)
    assert len(answers) >= 9
    for scope, answer in answers:
        if scope is None:
            assert answer.status == 200
        else:
            assert code(answer) == (401, "token_missing")
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="metadata-inventory"'


@pytest.mark.gen_test
@pytest.mark.parametrize("sent", ["Bearer", "Bearer x", "Basic YTpi", "Bearer mi_000000000000_" + "A" * 43])
async def test_invalid_key_is_401(closed: Api, sent: str) -> None:
    for scope, answer in await every_operation(closed, {**JSON, "Authorization": sent}):
        assert (answer.status == 401) == (scope is not None)


@pytest.mark.gen_test
@pytest.mark.parametrize("name", ["reader", "blind", "admin"])
async def test_key_does_what_its_scopes_allow_and_nothing_else(closed: Api, guarded: Guarded, name: str) -> None:
    own = {"reader": Scope.READ, "blind": Scope.COLLECT, "admin": Scope.ADMIN}[name]
    for scope, answer in await every_operation(closed, {**JSON, **bearer(guarded, name)}):
        refused = scope not in (None, own)
        assert (code(answer) == (403, "insufficient_scope")) == refused if answer.status != 200 else not refused


@pytest.mark.gen_test
async def test_get_of_what_is_not_stored_needs_the_scope_for_collecting(
    closed: Api, guarded: Guarded, shared_origin: Origin
) -> None:
    path = f"/{uuid.uuid4().hex}"
    shared_origin.page(path)
    url = shared_origin.url(path)
    assert code(await closed.get(url=url, headers=bearer(guarded, "reader"))) == (403, "insufficient_scope")
    assert code(await closed.get(url=url, collect="false", headers=bearer(guarded, "reader")))[0] == 404
    assert shared_origin.count(path) == 0
    answer = await closed.get(url=url, wait=20, headers=bearer(guarded, "collector"))
    assert answer.status == 200
    assert (await closed.get(url=url, headers=bearer(guarded, "reader"))).status == 200
    stale = await closed.get(url=url, max_age=0, headers=bearer(guarded, "reader"))
    assert stale.status == 200, "the stored record is served, and no refresh is started"
    assert shared_origin.count(path) == 1


@pytest.mark.gen_test
async def test_revoked_key_is_refused_soon(closed: Api, guarded: Guarded) -> None:
    key, token = make_key("short-lived", [Scope.READ], now())
    before = read_keys(guarded.keys_file)
    headers = {"Authorization": f"Bearer {token}"}

    async def status() -> int:
        return (await closed.get(url="http://127.0.0.1:9/", collect="false", headers=headers)).status

    write_keys(guarded.keys_file, [*before, key])
    await wait_until_async(lambda: equals(status, 404), 10)
    write_keys(guarded.keys_file, before)
    await wait_until_async(lambda: equals(status, 401), 10)


async def equals(status: Any, expected: int) -> bool:
    return bool(await status() == expected)


@pytest.mark.gen_test
async def test_client_over_its_limit_is_429_and_told_when_to_go_on(
    closed: Api, guarded: Guarded, shared_origin: Origin
) -> None:
    headers = bearer(guarded, "limited")
    answers = []
    for _ in range(BURST + 1):
        path = f"/{uuid.uuid4().hex}"
        shared_origin.page(path)
        answers.append(await closed.post(shared_origin.url(path), headers=headers))
    assert [answer.status for answer in answers] == [201] * BURST + [429]
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]
    refused = answers[-1]
    assert refused.json["code"] == "rate_limited"
    assert f"This client may start {BURST} collections at once and 0.5 a second after that" in refused.json["detail"]
    assert refused.headers["RateLimit-Policy"] == f'"collect";q={BURST};w=6'
    assert 1 <= int(refused.headers["Retry-After"]) <= 2
    assert shared_origin.count(path) == 0
    assert code(await closed.get(url=shared_origin.url(path), collect="false", headers=headers))[0] == 404

    stored = answers[0].json["url"]
    assert (await closed.get(url=stored, headers=headers)).status == 200, "a request that starts no work is not limited"
    assert (await closed.get(url=stored, headers=bearer(guarded, "reader"))).status == 200


@pytest.mark.gen_test
async def test_putting_back_counts_as_work_that_is_started(
    closed: Api, guarded: Guarded, shared_origin: Origin
) -> None:
    headers = {**JSON, **bearer(guarded, "operator")}
    path = f"/{uuid.uuid4().hex}"
    shared_origin.answer(path, b"not HTTP at all\r\n\r\n")

    async def requeue(failure: str) -> Answer:
        body = json.dumps({"codes": [failure]}).encode()
        return await closed.send("POST", "/api/inventory/queue/", headers=headers, body=body)

    assert code(await closed.post(shared_origin.url(path), headers=headers)) == (502, "http_protocol_error")
    answers = [await requeue("worker_lost") for _ in range(BURST - 1)]
    assert [answer.json["requeued"] for answer in answers] == [0] * (BURST - 1)
    assert answers[-1].headers["RateLimit"].startswith('"collect";r=0;')
    refused = await requeue("http_protocol_error")
    assert code(refused) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 2
    queue = await closed.get("/api/inventory/queue/", headers=headers)
    assert queue.json["failed"]["http_protocol_error"] == 1, "it has not been requeued"
    assert shared_origin.count(path) == 1


@pytest.mark.gen_test
async def test_pages_of_allowed_origins_may_use_the_api(closed: Api, guarded: Guarded, shared_origin: Origin) -> None:
    asked = {"Origin": TOOLS, "Access-Control-Request-Method": "POST"}
    preflight = await closed.send("OPTIONS", "/api/metadata/", headers=asked)
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == TOOLS
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    page = {**bearer(guarded, "collector"), "Origin": TOOLS, "Sec-Fetch-Site": "cross-site"}
    answer = await closed.post(shared_origin.url("/"), headers=page)
    assert answer.status == 201
    assert answer.headers["Access-Control-Allow-Origin"] == TOOLS
    refused = await closed.get(headers={"Origin": TOOLS})
    assert code(refused) == (401, "token_missing")
    assert refused.headers["Access-Control-Allow-Origin"] == TOOLS, "the page may read why"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", TOOLS + ".evil.example", "http://tools.example.com"]
)
async def test_pages_of_other_origins_get_nothing(closed: Api, guarded: Guarded, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert (await closed.send("OPTIONS", "/api/metadata/", headers=asked)).status == 405
    answer = await closed.get(
        url="http://127.0.0.1:9/", collect="false", headers={**bearer(guarded, "reader"), "Origin": origin}
    )
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Vary"] == "Origin"
    posted = await closed.post("http://127.0.0.1:9/", headers={**bearer(guarded, "collector"), "Origin": origin})
    assert code(posted) == (403, "cross_site_refused")


# Without keys in force, which is the default


@pytest.mark.gen_test
@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "", "cross-site,none", "none,none", "new"])
async def test_page_of_another_site_cannot_start_work(api: Api, shared_origin: Origin, site: str) -> None:
    path = f"/{uuid.uuid4().hex}"
    shared_origin.page(path)
    url = shared_origin.url(path)
    headers = {"Sec-Fetch-Site": site}
    assert code(await api.get(url=url, headers=headers)) == (403, "cross_site_refused")
    assert code(await api.post(url, headers=headers)) == (403, "cross_site_refused")
    queue = await api.send("POST", "/api/inventory/queue/", headers={**JSON, **headers}, body=b"{}")
    assert code(queue) == (403, "cross_site_refused")
    assert shared_origin.count(path) == 0
    await api.collected(url)
    stale = await api.get(url=url, max_age=0, headers=headers)
    assert stale.status == 200
    assert shared_origin.count(path) == 1, "a refresh is work too"


@pytest.mark.gen_test
@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_own_pages_and_typed_addresses_may_start_work(api: Api, shared_origin: Origin, site: str) -> None:
    path = f"/{uuid.uuid4().hex}"
    shared_origin.page(path)
    assert (await api.get(url=shared_origin.url(path), headers={"Sec-Fetch-Site": site})).status == 202


@pytest.mark.gen_test
async def test_site_that_is_given_twice_cannot_start_work(api: Api) -> None:
    headers = HTTPHeaders()
    headers.add("Sec-Fetch-Site", "cross-site")
    headers.add("Sec-Fetch-Site", "none")
    assert code(await api.get(url="http://127.0.0.1:9/", headers=headers)) == (403, "cross_site_refused")


@pytest.mark.gen_test
async def test_origin_header_of_older_browsers_counts(api: Api, shared_origin: Origin) -> None:
    refused = await api.post(shared_origin.url("/"), headers={"Origin": "https://evil.example"})
    assert code(refused) == (403, "cross_site_refused")
    assert "cors_origins" in refused.json["detail"]
    assert (await api.post(shared_origin.url("/"), headers={"Origin": api.base})).status == 201


@pytest.mark.gen_test
async def test_name_that_was_made_to_resolve_here_is_refused(api: Api) -> None:
    for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "", "[x]"):
        answer = await api.get(url="http://127.0.0.1:9/", collect="false", headers={"Host": host})
        assert code(answer) == (421, "host_not_allowed"), host
        assert answer.json["detail"].endswith(f'a name of the setting allowed_hosts, not "{host}".')
    for host in ("localhost", "LOCALHOST:1", "inventory.localhost", "127.0.0.1", "[::1]:8000", "198.51.100.7"):
        answer = await api.get(url="http://127.0.0.1:9/", collect="false", headers={"Host": host})
        assert answer.status == 404, host


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("method", "path", "otherwise"),
    [
        ("GET", "/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/api/metadata/", 405),
        ("OPTIONS", "/api/metadata/", 405),
        ("HEAD", "/openapi.json", 200),
    ],
)
async def test_name_is_checked_on_every_path_but_health(api: Api, method: str, path: str, otherwise: int) -> None:
    assert (await api.send(method, path)).status == otherwise
    assert (await api.send(method, path, headers={"Host": "evil.example"})).status == 421


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_is_told_under_any_name(api: Api, path: str) -> None:
    assert (await api.get(path, headers={"Host": "probe.internal"})).status == 200


@pytest.mark.gen_test
async def test_where_keys_are_asked_for_any_name_will_do(closed: Api, guarded: Guarded) -> None:
    headers = {**bearer(guarded, "reader"), "Host": "inventory.example.com"}
    assert (await closed.get(url="http://127.0.0.1:9/", collect="false", headers=headers)).status == 404


@pytest.mark.gen_test
async def test_every_answer_carries_the_security_headers(api: Api, closed: Api, guarded: Guarded) -> None:
    answers = [answer for _, answer in await every_operation(api, JSON)]
    answers += [answer for _, answer in await every_operation(closed, {})]
    answers += [await api.get("/nowhere"), await api.send("DELETE", "/api/metadata/"), await api.send("HEAD", "/livez")]
    for answer in answers:
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers[name] == value
        assert "Server" not in answer.headers


@pytest.mark.gen_test
async def test_keys_are_in_no_log(closed: Api, guarded: Guarded) -> None:
    await every_operation(closed, {**JSON, **bearer(guarded, "collector")})
    for token in guarded.tokens.values():
        assert token.split("_", 2)[2] not in guarded.service.log
