"""The first witness: Debian's `curl`, whose libcurl is years older, with its own redirects, cookies and decoding.

Response lines are read from what --dump-header writes, requests and TLS from --verbose, cookies from --cookie-jar. The
same URL is fetched twice: as it comes, and with --compressed for the decoded body.
"""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from tests.witness.case import Field, Value
from tests.witness.seen import Place, SeenCookie, SeenHop, read_bytes, read_hops, read_kept

CURL = "/usr/bin/curl"
DEADLINE_S = 20
ACCEPT_ENCODING = "Accept-Encoding: gzip, deflate, br, zstd"

_CONNECTED = re.compile(rb"\* SSL connection using (\S+) / (\S+)")
_CERTIFICATE = re.compile(rb"\*  (subject|issuer|start date|expire date): (.*)")
_NEXT = re.compile(rb"\* Issue another request to this URL: '(.*)'")


def version() -> str:
    done = subprocess.run([CURL, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def see(
    url: str, place: Place, ca_file: str, directory: Path, fields: tuple[Field, ...]
) -> dict[Field, dict[str, Value]]:
    """Fetch the URL and tell what curl saw, in these fields."""
    plain = _Run(url, place, ca_file, directory / "plain", ["--header", ACCEPT_ENCODING])
    seen = read_hops(plain.hops(), plain.final_url, place)
    seen[Field.KEPT] = read_kept(plain.cookies(), whole=False)
    seen[Field.WIRE] = read_bytes("wire", plain.body)
    if Field.CONTENT in fields:
        decoded = _Run(url, place, ca_file, directory / "decoded", ["--compressed"])
        seen[Field.CONTENT] = read_bytes("content", decoded.body)
    if plain.final_url.startswith("https:"):
        seen[Field.TLS] = plain.tls()
    return seen


class _Run:
    """One call of the command, and what it wrote."""

    def __init__(self, url: str, place: Place, ca_file: str, directory: Path, options: list[str]) -> None:
        directory.mkdir()
        self._place = place
        head, body, self._jar = (directory / name for name in ("head", "body", "jar"))
        command = [CURL, "--disable", "--verbose", "--silent", "--http1.1", "--location", "--max-redirs", "20"]
        command += ["--noproxy", "*", "--cacert", ca_file, "--cookie", "", "--cookie-jar", str(self._jar)]
        for port in (place.http_port, place.https_port):
            command += ["--resolve", f"*:{port}:127.0.0.1"]
        command += ["--dump-header", str(head), "--output", str(body), "--write-out", "%{url_effective}", *options, url]
        done = subprocess.run(command, capture_output=True, timeout=DEADLINE_S)
        assert done.returncode == 0, done.stderr.decode("latin-1")
        self.final_url = done.stdout.decode()
        self.body = body.read_bytes() if body.exists() else b""  # curl makes no file for nothing
        self._head = head.read_bytes()
        self._lines = [line.rstrip(b"\r") for line in done.stderr.split(b"\n")]
        self._urls = [url, *(match[1].decode() for line in self._lines if (match := _NEXT.fullmatch(line)))]

    def hops(self) -> list[SeenHop]:
        """Of each hop the final response; what is around it beside it."""
        sent = self._sent_cookies()
        hops: list[SeenHop] = []
        beside: dict[str, bytes] = {}
        for block in self._head.split(b"\r\n\r\n"):
            first, *lines = block.removesuffix(b"\r\n").split(b"\r\n")
            if not first:
                continue
            if not first.startswith(b"HTTP/"):
                beside_last = dict(hops[-1].beside) | _number("trailer line", [first, *lines])
                hops[-1] = SeenHop(**{name: getattr(hops[-1], name) for name in _HOP_FIELDS}, beside=beside_last)
                continue
            http_version, status, reason = (*first.split(b" ", 2), b"", b"")[:3]
            if status.startswith(b"1"):
                beside |= _number(f"line of {status.decode()}", lines)
                continue
            hop = SeenHop(
                url=self._urls[len(hops)],
                http_version=http_version.decode(),
                status_code=int(status),
                reason=reason,
                headers=[_split(line) for line in lines],
                sent_cookies=sent[len(hops)],
                beside=beside,
            )
            hops.append(hop)
            beside = {}
        return hops

    def _sent_cookies(self) -> list[bytes | None]:
        sent: list[bytes | None] = []
        for line in self._lines:
            if line.startswith(b"> GET "):
                sent.append(None)
            elif line.startswith(b"> Cookie: "):
                sent[-1] = line.removeprefix(b"> Cookie: ")
        return sent

    def cookies(self) -> list[SeenCookie]:
        """The jar's lines: domain, whether hosts below it count, path, secure, expiry, name, value.

        curl writes a default path with the slash at its end, which 6265bis §5.1.4 leaves out; it is left out here too.
        """
        cookies = []
        directories = {urlsplit(url).path.rpartition("/")[0] + "/" for url in self._urls}
        for line in self._jar.read_text("utf-8", "backslashreplace").splitlines():
            http_only = line.startswith("#HttpOnly_")
            parts = line.removeprefix("#HttpOnly_").split("\t")
            if len(parts) != 7:
                continue
            domain, below, path, secure, expires, name, value = parts
            cookie = SeenCookie(
                name=name,
                value=value,
                domain=domain if below == "TRUE" else domain.removeprefix("."),
                path=path.rstrip("/") if path != "/" and path in directories else path,
                lifetime=self._place.lifetime(float(expires) if expires != "0" else None),
                secure=secure == "TRUE",
                http_only=http_only,
            )
            cookies.append(cookie)
        return cookies

    def tls(self) -> dict[str, Value]:
        """Of the last hop's connection."""
        (tls_version, cipher) = next(m for line in reversed(self._lines) if (m := _CONNECTED.fullmatch(line))).groups()
        told = {match[1]: match[2].decode() for line in self._lines if (match := _CERTIFICATE.fullmatch(line))}
        return {
            "tls version": tls_version.decode(),
            "tls cipher": cipher.decode(),
            "certificate subject": told[b"subject"],
            "certificate issuer": told[b"issuer"],
            "certificate not before": _instant(told[b"start date"]),
            "certificate not after": _instant(told[b"expire date"]),
        }


_HOP_FIELDS = ("url", "http_version", "status_code", "reason", "headers", "sent_cookies")


def _split(line: bytes) -> tuple[str, bytes]:
    """RFC 9112 §5: spaces and tabs around a value are not of it."""
    name, _, value = line.partition(b":")
    return name.decode("latin-1"), value.strip(b" \t")


def _number(name: str, lines: list[bytes]) -> dict[str, bytes]:
    return {f"{name} {number}": line for number, line in enumerate(lines, 1)}


def _instant(text: str) -> float:
    return datetime.strptime(text, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC).timestamp()
