from __future__ import annotations

from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.support.running import Service
from tests.web.client import Api


@pytest.fixture
def api(io_loop: IOLoop, service: Service) -> Iterator[Api]:
    async def open_api() -> Api:
        return Api(service.url)

    api = io_loop.run_sync(open_api)
    yield api
    api.close()
