"""Bodies larger than a document of the database can be, when the settings allow them."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from pathlib import Path

from tests.support.client import get, post, send
from tests.support.origin import Origin
from tests.support.running import Service, with_database

MIB = 1024 * 1024


def test_body_beyond_a_document_is_whole_and_what_is_past_the_limit_is_cut(mongo_uri: str, tmp_path: Path) -> None:
    environ = with_database(
        mongo_uri,
        INVENTORY_MAX_BODY_BYTES=str(24 * MIB),
        INVENTORY_MAX_WIRE_BYTES=str(24 * MIB),
    )
    body = os.urandom(24 * MIB)
    binary = [("Content-Type", "application/octet-stream")]
    with Origin() as origin, Service(tmp_path, "--allow-destination", "127.0.0.0/8", environ=environ) as service:
        service.wait_for_answer()
        origin.page("/whole", body, headers=binary)
        origin.page("/longer", body + b"x", headers=binary)
        for path, truncated in (("/whole", None), ("/longer", "length")):
            status, record = post(service, origin.url(path))
            assert status == 201
            assert record["body"]["truncated"] == truncated
            assert record["body"]["length"] == len(body)
            assert record["body"]["sha256"] == hashlib.sha256(body).hexdigest()
            own = f"/api/metadata/{record['id']}/body/"
            assert send(urllib.request.Request(service.url + own)) == (200, body)
            assert get(service, origin.url("/whole"))[0] == 200
