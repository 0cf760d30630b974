"""The logs of the running program contain no secret that it was given, at DEBUG too."""

from __future__ import annotations

import socket
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from metadata_inventory.access.keys import Scope, make_key, write_keys
from metadata_inventory.clock import now
from tests.support.client import send
from tests.support.origin import Origin
from tests.support.running import Service
from tests.support.waiting import wait_until


def test_logs_have_no_userinfo_query_cookie_page_key_or_password(tmp_path: Path) -> None:
    secrets = {name: uuid.uuid4().hex for name in ("userinfo", "query", "cookie", "header", "page", "fragment", "body")}
    key, token = make_key("a", list(Scope), now())
    write_keys(tmp_path / "keys", [key])
    environ = {"INVENTORY_KEYS_FILE": str(tmp_path / "keys"), "INVENTORY_RETRY_BASE_S": "0.05"}
    page = f"<title>{secrets['page']}</title>"
    with Origin() as origin, Service(tmp_path, "--allow-loopback", "--log-level", "DEBUG", environ=environ) as service:
        service.wait_for_answer()
        path = f"/?{secrets['query']}"
        origin.page(path, page, headers=[("Set-Cookie", f"a={secrets['cookie']}"), ("X-Secret", secrets["header"])])
        origin.redirect(f"/r?{secrets['query']}", path)
        origin.answer(f"/broken?{secrets['query']}", reset=True)

        def ask(target: str, url: str | None = None, body: bytes | None = None) -> int:
            data = body if url is None else f'{{"url": "{url}"}}'.encode()
            request = urllib.request.Request(service.url + target, data)
            request.add_header("Authorization", f"Bearer {token}")
            request.add_header("Content-Type", "application/json")
            request.add_header("Cookie", f"session={secrets['cookie']}")
            return send(request)[0]

        assert ask("/api/metadata/", origin.url(path) + "#" + secrets["fragment"]) == 201
        assert ask("/api/metadata/", origin.url(f"/r?{secrets['query']}")) == 201
        assert ask("/api/metadata/", origin.url(f"/broken?{secrets['query']}")) == 502
        assert ask("/api/metadata/", f"http://user:{secrets['userinfo']}@127.0.0.1/") == 400
        assert ask("/api/metadata/", f"http://169.254.169.254/?{secrets['query']}") == 403
        assert ask(f"/api/metadata/?url={origin.url(path)}&wait=1&x={secrets['query']}") == 400
        assert ask(f"/api/metadata/?url={origin.url('/')}?{secrets['query']}") in (200, 202)
        assert ask(f"/{secrets['query']}") == 404
        assert ask("/api/metadata/", body=secrets["body"].encode()) == 400
        for line in (f"Authorization: Bearer {token}\x01", f"Cookie: {secrets['cookie']}\x01", f"{secrets['header']}"):
            say_raw(service, f"GET /{secrets['query']} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n")
        odd = f"GET /api/metadata/{secrets['query']}/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n"
        say_raw(service, odd)
        database = service.child("secantus")
        database.suspend()  # for errors of the driver, which quote documents
        try:
            assert ask("/api/metadata/", origin.url(f"/late?{secrets['query']}")) == 503
        finally:
            database.resume()
        wait_until(lambda: service.answers("/readyz"), 30)
        assert (tmp_path / "data").stat().st_mode & 0o077 == 0, "closed to others, whatever is in it"
        service.end()
        secrets["key"] = token.split("_", 2)[2]
        secrets["password"] = (tmp_path / "data" / "database.password").read_text()
        written = {file: file.read_text() for file in (service.log_file, tmp_path / "data" / "database.log")}
    assert "POST /api/metadata/ 201" in written[service.log_file]
    for file, text in written.items():
        for name, secret in secrets.items():
            assert secret not in text, f"{name} in {file.name}"


def say_raw(service: Service, text: str) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=10) as connection:
        connection.sendall(text.encode())
        assert b" 4" in connection.recv(4096)[:13]
