"""When an answer asks for credentials (RFC 9110 §11.6.1)."""

from __future__ import annotations

import pytest

from tests.web.client import Api


@pytest.mark.parametrize(("path", "status"), [("/api/metadata/?url=nonsense", 400), ("/api/metadata/absent/", 404)])
@pytest.mark.gen_test
async def test_errors_other_than_401_ask_for_no_credentials(api: Api, path: str, status: int) -> None:
    answer = await api.get(path)
    assert answer.status == status
    assert "WWW-Authenticate" not in answer.headers
