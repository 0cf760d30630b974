"""Look-up, collection and reading of records, on a running service with a real database and a real origin."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from metadata_inventory.model.urls import normalize
from tests.support.origin import Origin
from tests.support.waiting import wait_until_async
from tests.web.client import Answer, Api

PAGE = "<!doctype html><title>Café</title><p>Hello \U0001f30d</p>"


def a_path() -> str:
    return f"/{uuid.uuid4().hex}"


@contextmanager
def a_page(origin: Origin, html: str = PAGE, **more: Any) -> Iterator[tuple[str, str]]:
    """A page of this test alone: its path, its URL."""
    path = a_path()
    origin.page(path, html, **more)
    yield path, origin.url(path)


@contextmanager
def a_held_page(origin: Origin) -> Iterator[tuple[str, str]]:
    """A page whose response is withheld until the test releases it, or ends."""
    with a_page(origin) as (path, url):
        origin.hold(path)
        yield path, url
        origin.release(path)


def a_refused_url() -> str:
    """A URL whose port is closed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}{a_path()}"


async def stored(api: Api, url: str) -> Answer:
    """The first answer to a GET that is not 202."""
    answers: list[Answer] = []

    async def ended() -> bool:
        answers.append(await api.get(url=url))
        return answers[-1].status != 202

    await wait_until_async(ended, 20)
    return answers[-1]


# POST


@pytest.mark.gen_test
async def test_post_answers_with_the_record(api: Api, shared_origin: Origin) -> None:
    headers = [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; HttpOnly"), ("X-Two", "one"), ("X-two", "two")]
    with a_page(shared_origin, headers=headers) as (_, url):
        answer = await api.post(url + "?q=%7e#there")
    record = answer.json
    assert answer.status == 201
    assert answer.headers["Location"] == f"/api/metadata/{record['id']}/"
    assert record["url"] == url + "?q=%7e#there"
    assert record["normalized_url"] == record["final_url"] == url + "?q=~"
    assert record["id"] == normalize(url + "?q=~").id
    assert record["status"] == "complete"
    assert record["status_code"] == 404, "the origin does not know the path with a query; its response is recorded"
    with a_page(shared_origin, headers=headers) as (_, url):
        record = (await api.post(url)).json
    assert record["status_code"] == 200
    assert record["headers"]["x-two"] == "one, two"
    assert record["headers"]["content-type"] == "text/html; charset=utf-8"
    assert record["cookies"] == {"a": "1", "b": "2"}
    assert record["page_source"] == PAGE
    assert record["revision"] == 1
    assert record["last_error"] is None
    assert record["fetched_at"].endswith("Z")


@pytest.mark.gen_test
async def test_post_collects_again_each_time(api: Api, shared_origin: Origin) -> None:
    with a_page(shared_origin) as (path, url):
        assert (await api.collected(url))["revision"] == 1
        shared_origin.page(path, "changed")
        second = await api.collected(url)
    assert (second["revision"], second["page_source"]) == (2, "changed")
    assert shared_origin.count(path) == 2


@pytest.mark.gen_test
async def test_post_is_answered_with_a_stored_record_within_max_age(api: Api, shared_origin: Origin) -> None:
    with a_page(shared_origin) as (path, url):
        first = await api.post(url, max_age=60)
        second = await api.post(url, max_age=60)
        third = await api.post(url, max_age=0)
        body = f'{{"url": "{url}", "max_age": 6.0e1}}'.encode()
        fourth = await api.send("POST", "/api/metadata/", headers={"Content-Type": "application/json"}, body=body)
    assert [first.status, second.status, third.status, fourth.status] == [201, 200, 201, 200]
    assert second.json == first.json
    assert shared_origin.count(path) == 2


@pytest.mark.gen_test
async def test_concurrent_posts_and_gets_start_one_collection(api: Api, shared_origin: Origin) -> None:
    with a_held_page(shared_origin) as (path, url):
        first = asyncio.ensure_future(api.post(url))
        await asyncio.to_thread(shared_origin.wait_for, path, 1)
        joined = await asyncio.gather(
            *(api.post(url, wait=0) for _ in range(10)), *(api.get(url=url) for _ in range(10))
        )
        assert {answer.status for answer in joined} == {202}
        waiting = [asyncio.ensure_future(api.get(url=url, wait=30)) for _ in range(10)]
        shared_origin.release(path)
        answers = [await first, *await asyncio.gather(*waiting)]
    assert [answer.status for answer in answers] == [201] + [200] * 10
    assert len({answer.content for answer in answers}) == 1
    assert shared_origin.count(path) == 1


@pytest.mark.gen_test
async def test_post_answers_202_when_the_wait_is_over_and_goes_on(api: Api, shared_origin: Origin) -> None:
    with a_held_page(shared_origin) as (path, url):
        at_once = await api.post(url, headers={"Prefer": "respond-async"})
        waited = await api.post(url, wait=0)
        assert (at_once.status, waited.status) == (202, 202)
        assert at_once.headers["Preference-Applied"] == "respond-async"
        assert at_once.json["id"] == waited.json["id"]
        shared_origin.release(path)
        assert (await stored(api, url)).json["page_source"] == PAGE
    assert shared_origin.count(path) == 1


@pytest.mark.gen_test
async def test_post_of_an_origins_error_is_a_record(api: Api, shared_origin: Origin) -> None:
    with a_page(shared_origin, status=500) as (_, url):
        assert (await api.collected(url))["status_code"] == 500


@pytest.mark.gen_test
async def test_failed_refresh_keeps_the_record_and_says_so(api: Api) -> None:
    with Origin() as origin:
        record = await api.collected(origin.url("/"))
    failed = await api.post(record["url"])
    assert failed.status == 502
    assert failed.json["code"] == "connection_refused"
    assert failed.json["record"] == f"/api/metadata/{record['id']}/"
    kept = await api.get(url=record["url"])
    assert kept.status == 200
    assert kept.json["page_source"] == record["page_source"]
    assert kept.json["last_error"]["code"] == "connection_refused"
    assert kept.json["last_error"]["retryable"] is True
    assert kept.headers["ETag"] != (await api.get(url=record["url"], fields="id")).headers["ETag"]


# GET


@pytest.mark.gen_test
async def test_get_of_an_unknown_url_answers_202_before_the_origin_does(api: Api, shared_origin: Origin) -> None:
    with a_held_page(shared_origin) as (path, url):
        first = await api.get(url=url)
        again = await api.get(url=url)
        assert shared_origin.count(path) <= 1
        await asyncio.to_thread(shared_origin.wait_for, path, 1)
        by_id = await api.get(first.headers["Location"])
        assert by_id.headers["Retry-After"] == "1", "a running collection may end at any time"
        shared_origin.release(path)
        record = await stored(api, url)
    assert [first.status, again.status, by_id.status] == [202, 202, 202]
    assert first.json == again.json == by_id.json
    assert first.headers["Cache-Control"] == "no-store"
    assert int(first.headers["Retry-After"]) >= 1
    assert first.json["status"] == "pending"
    assert first.json["url"] == first.json["normalized_url"] == url
    assert record.status == 200
    assert record.json["page_source"] == PAGE
    assert shared_origin.count(path) == 1


@pytest.mark.gen_test
async def test_get_of_a_stored_url_asks_no_origin(api: Api, shared_origin: Origin) -> None:
    with a_page(shared_origin) as (path, url):
        record = await api.collected(url)
        answer = await api.get(url=url)
        without_slash = await api.get("/api/metadata", url=url)
        by_id = await api.get(f"/api/metadata/{record['id']}")
    assert answer.json == without_slash.json == by_id.json == record
    assert answer.headers["Cache-Status"] == "http-metadata-inventory; hit"
    assert int(answer.headers["Age"]) >= 0
    assert parsedate_to_datetime(answer.headers["Last-Modified"]).isoformat()[:19] == record["fetched_at"][:19]
    assert shared_origin.count(path) == 1


@pytest.mark.gen_test
async def test_get_with_if_none_match_answers_304(api: Api, shared_origin: Origin) -> None:
    with a_page(shared_origin) as (_, url):
        await api.collected(url)
        tag = (await api.get(url=url)).headers["ETag"]
        unchanged = await api.get(url=url, headers={"If-None-Match": f'"other", {tag}'})
        await api.collected(url)
        changed = await api.get(url=url, headers={"If-None-Match": tag})
    assert (unchanged.status, unchanged.content) == (304, b"")
    assert unchanged.headers["ETag"] == tag
    assert changed.status == 200


@pytest.mark.gen_test
@pytest.mark.parametrize("how", ["query", "header"])
async def test_get_waits_when_asked(api: Api, shared_origin: Origin, how: str) -> None:
    with a_held_page(shared_origin) as (path, url):
        if how == "query":
            waiting = asyncio.ensure_future(api.get(url=url, wait=30))
        else:
            waiting = asyncio.ensure_future(api.get(url=url, headers={"Prefer": "wait=90"}))
        await asyncio.to_thread(shared_origin.wait_for, path, 1)
        shared_origin.release(path)
        answer = await waiting
    assert answer.status == 200
    assert answer.headers.get("Preference-Applied") == (None if how == "query" else "wait=30")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("respond-async, wait=1", "wait=1"),
        ("wait=1, respond-async", "wait=1"),
        ("wait=1, wait=20", "wait=1"),
        ('wait="1"; foo=bar', "wait=1"),
        ("wait=soon", None),
        ("wait=" + "9" * 5000, None),
        ("return=minimal", None),
    ],
)
async def test_preferences(api: Api, shared_origin: Origin, prefer: str, applied: str | None) -> None:
    with a_held_page(shared_origin) as (_, url):
        answer = await api.get(url=url, headers={"Prefer": prefer})
        assert (answer.status, answer.headers.get("Preference-Applied")) == (202, applied)
        assert "Preference-Applied" not in (await api.get(url=url, wait=0, headers={"Prefer": prefer})).headers


@pytest.mark.gen_test
async def test_cache_status_says_whether_the_record_was_stored(api: Api, shared_origin: Origin) -> None:
    with a_held_page(shared_origin) as (path, url):
        statuses = [await api.get(url=url), await api.get(url=url)]
        shared_origin.release(path)
        await stored(api, url)
        statuses += [await api.get(url=url), await api.post(url)]
    assert [answer.headers["Cache-Status"].partition("; ")[2] for answer in statuses] == [
        "fwd=uri-miss",
        "fwd=uri-miss",
        "hit",
        "fwd=method; stored",
    ]


@pytest.mark.gen_test
async def test_post_is_never_answered_with_304(api: Api, shared_origin: Origin) -> None:
    with a_page(shared_origin) as (_, url):
        tag = (await api.post(url)).headers["ETag"]
        assert (await api.post(url, max_age=60, headers={"If-None-Match": tag})).status == 200


@pytest.mark.gen_test
async def test_get_whose_wait_is_over_answers_202(api: Api, shared_origin: Origin) -> None:
    with a_held_page(shared_origin) as (_, url):
        assert (await api.get(url=url, wait=1)).status == 202


@pytest.mark.gen_test
async def test_get_without_collect_starts_nothing(api: Api, shared_origin: Origin) -> None:
    with a_page(shared_origin) as (path, url):
        absent = await api.get(url=url, collect="false")
        assert (absent.status, absent.json["code"]) == (404, "record_not_found")
        await api.collected(url)
        assert (await api.get(url=url, collect="false", max_age=0)).status == 200
    assert shared_origin.count(path) == 1


@pytest.mark.gen_test
async def test_stale_hit_is_served_and_refreshed(api: Api, shared_origin: Origin) -> None:
    with a_page(shared_origin) as (path, url):
        await api.collected(url)
        shared_origin.page(path, "new")
        shared_origin.hold(path)
        stale = await api.get(url=url, max_age=0)
        assert stale.json["page_source"] == PAGE
        assert stale.headers["Cache-Status"] == "http-metadata-inventory; hit; detail=stale"
        await asyncio.to_thread(shared_origin.wait_for, path, 2)
        assert (await api.get(url=url)).json["page_source"] == PAGE, "the old record is served while the refresh runs"
        shared_origin.release(path)

        async def refreshed() -> bool:
            return (await api.get(url=url)).json["revision"] == 2

        await wait_until_async(refreshed, 20)
    assert shared_origin.count(path) == 2


@pytest.mark.gen_test
async def test_failure_is_stored_after_the_last_attempt(api: Api) -> None:
    url = a_refused_url()
    first = await api.get(url=url)
    failed = await stored(api, url)
    assert first.status == 202
    assert failed.status == 502
    problem = failed.json
    assert problem["code"] == "connection_refused"
    assert problem["attempts"] == 3
    assert problem["normalized_url"] == url
    assert problem["exchanges"][-1]["response"] is None
    assert int(failed.headers["Retry-After"]) > 3000
    again = await api.get(url=url)
    assert again.json == problem, "no new job before retry_at"
    assert (await api.get(f"/api/metadata/{problem['id']}/")).json == problem


@pytest.mark.gen_test
async def test_post_makes_one_attempt_and_the_retries_go_on_behind(api: Api) -> None:
    url = a_refused_url()
    answer = await api.post(url)
    assert answer.status == 502
    assert answer.json["attempts"] == 1
    assert (await api.get(url=url)).status in (202, 502)
    assert (await stored(api, url)).json["attempts"] == 3
    assert (await api.post(url)).json["attempts"] == 1, "a POST begins anew"


@pytest.mark.gen_test
async def test_redirect_to_a_refused_address_is_a_stored_failure_without_that_address(
    api: Api, shared_origin: Origin
) -> None:
    path = a_path()
    shared_origin.redirect(path, "http://10.1.2.3/secret")
    answer = await api.post(shared_origin.url(path))
    assert answer.status == 502
    assert answer.json["code"] == "destination_ip_prohibited"
    assert "10.1.2.3" not in answer.json["detail"]
    assert (await api.get(url=shared_origin.url(path))).json == answer.json


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest/", "http://x.onion/", "http://0x0a.1/"],
)
async def test_refused_destination_is_403_and_nothing_is_stored(api: Api, url: str) -> None:
    for answer in (await api.get(url=url), await api.post(url)):
        assert (answer.status, answer.json["code"]) == (403, "destination_ip_prohibited")
    assert (await api.get(f"/api/metadata/{normalize(url).id}/")).status == 404


# fields


@pytest.mark.gen_test
async def test_fields_choose_and_leave_out(api: Api, shared_origin: Origin) -> None:
    with a_page(shared_origin) as (_, url):
        whole = await api.collected(url)
        few = await api.get(url=url, fields="id,status_code")
        without = await api.get(url=url, fields="-page_source,-exchanges")
        unknown = await api.get(url=url, fields="id,nonsense")
        mixed = await api.get(url=url, fields="id,-url")
    assert few.json == {"id": whole["id"], "status_code": 200}
    assert without.json == {name: value for name, value in whole.items() if name not in ("page_source", "exchanges")}
    assert (unknown.status, unknown.json["code"]) == (400, "invalid_parameter")
    assert 'not "nonsense"; its fields are id, url, normalized_url' in unknown.json["detail"]
    assert (mixed.status, mixed.json["code"]) == (400, "invalid_parameter")


@pytest.mark.gen_test
async def test_nothing_is_collected_for_a_request_whose_fields_are_refused(api: Api, shared_origin: Origin) -> None:
    with a_page(shared_origin) as (path, url):
        posted = await api.post(url, fields="nonsense")
        looked_up = await api.get(url=url, fields="nonsense")
        stored = await api.get(url=url, collect="false")
        assert (posted.status, looked_up.status, stored.status) == (400, 400, 404)
        assert shared_origin.count(path) == 0


@pytest.mark.gen_test
async def test_head_is_get_without_its_body(api: Api, shared_origin: Origin) -> None:
    with a_page(shared_origin) as (_, url):
        await api.collected(url)
        got = await api.get(url=url)
        headed = await api.send("HEAD", "/api/metadata/", url=url)
    assert (headed.status, headed.content) == (200, b"")
    assert headed.headers["ETag"] == got.headers["ETag"]
    assert headed.headers["Content-Length"] == str(len(got.content))
