from __future__ import annotations

from pathlib import Path

import pytest

from tests.running import Service
from tests.waiting import wait_until
from tests.web.api import Api


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_healthy_service_says_ok(api: Api, path: str) -> None:
    for form in (path, path + "/"):
        answer = await api.get(form)
        assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert (await api.send("HEAD", path)).status == 200


def test_readiness_follows_the_database(tmp_path: Path) -> None:
    """Stopped in its tracks (SIGSTOP) the database answers nothing: not ready, alive, and ready again by itself."""
    with Service(tmp_path, environ={"INVENTORY_STORAGE_TIMEOUT_S": "1"}) as service:
        wait_until(lambda: service.answers("/readyz"), 30)
        database = service.child("secantus")
        database.suspend()
        try:
            wait_until(
                lambda: not service.answers("/readyz"), 10, what="its being noticed, which one look a second does"
            )
            assert service.answers("/livez")
        finally:
            database.resume()
        wait_until(lambda: service.answers("/readyz"), 30)
