"""Our side of the comparison: the record that the API serves, as values of `seen`."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import datetime
from typing import Any

from metadata_inventory.collect.parse.set_cookie import REFUSALS
from tests.support.client import post
from tests.support.running import Service
from tests.witness.case import Field, Value, Witness
from tests.witness.seen import Place, SeenCookie, SeenHop, read_hops, read_kept

_MARKED = re.compile(r"<(\w+) id=\"?text\"?>(.*?)</\1>", re.DOTALL)


def see(service: Service, url: str, place: Place, witness: Witness) -> dict[Field, dict[str, Value]]:
    """Collect the URL again and read every field of the record that the witness can show."""
    status, record = post(service, url)
    assert status == 201, record
    last = record["exchanges"][-1]
    body, summary = record["body"], record["summary"]
    seen = read_hops([_read_hop(exchange) for exchange in record["exchanges"]], record["final_url"], place)
    cookies = [cookie for exchange in record["exchanges"] for cookie in exchange["response"]["set_cookies"]]
    kept, refused = _keep(cookies, place)
    seen[Field.KEPT] = read_kept(kept, whole=witness is Witness.CHROMIUM)
    seen[Field.REFUSED] = {f"refused line {number}": raw for number, raw in enumerate(refused, 1)}
    seen[Field.WIRE] = {"wire length": body["wire_length"], "wire sha256": body["wire_sha256"]}
    seen[Field.CONTENT] = {"content length": body["length"], "content sha256": body["sha256"]}
    seen[Field.TYPE] = {"media type": body["media_type"]}
    seen[Field.TEXT] = {"charset": body["charset"], "text": _marked_text(record["page_source"])}
    seen[Field.SUMMARY] = {name: _url_or_text(summary and summary[name], place) for name in SUMMARY}
    if last["tls"] is not None:
        seen[Field.TLS] = _read_tls(last["tls"], witness)
    return seen


SUMMARY = ("title", "description", "canonical", "language", "favicon")


def _read_hop(exchange: dict[str, Any]) -> SeenHop:
    request, response = exchange["request"], exchange["response"]
    sent = [_octets(header) for header in request["headers"] if header["name"].lower() == "cookie"]
    return SeenHop(
        url=request["url"],
        http_version=response["http_version"],
        status_code=response["status_code"],
        reason=response["reason"],
        headers=[(header["name"], _octets(header)) for header in response["headers"]],
        sent_cookies=b" | ".join(sent) if sent else None,
    )


def _octets(header: dict[str, str]) -> bytes:
    """The value's bytes as the API page says: in `value_base64` when they are not UTF-8."""
    if "value_base64" not in header:
        return header["value"].encode()
    raw = b64decode(header["value_base64"])
    assert raw.decode("latin-1") == header["value"]
    return raw


def _keep(cookies: list[dict[str, Any]], place: Place) -> tuple[list[SeenCookie], list[str]]:
    """What a reader of the record, who knows what the flaws mean, would find in a browser afterwards."""
    kept: dict[tuple[str, ...], SeenCookie] = {}
    refused = []
    for cookie in cookies:
        if not REFUSALS.isdisjoint(cookie["flaws"]):
            refused.append(cookie["raw"])
            continue
        seen = SeenCookie(
            name=cookie["name"],
            value=cookie["value"],
            domain=cookie["domain"] if cookie["host_only"] else f".{cookie['domain']}",
            path=cookie["path"],
            lifetime=place.lifetime(_expiry(cookie, place)),
            secure=cookie["secure"],
            http_only=cookie["http_only"],
            same_site=cookie["same_site"],
            partitioned=cookie["partitioned"],
        )
        key = (seen.name, seen.domain, seen.path, str(seen.partitioned))
        kept.pop(key, None)
        if seen.lifetime == "session" or not seen.lifetime.startswith("-"):
            kept[key] = seen
    return list(kept.values()), refused


def _expiry(cookie: dict[str, Any], place: Place) -> float | None:
    """Max-Age before Expires, which the record has as it was sent."""
    if cookie["max_age"] is not None:
        return place.began_at + (float(cookie["max_age"]) if cookie["max_age"] > 0 else -1.0)
    if cookie["expires"] is None:
        return None
    return datetime.fromisoformat(cookie["expires"]).timestamp()


def _marked_text(page_source: str) -> str:
    """The element that a page marks as its text; the whole of what is no such page. As a parser has it: LF, no CR."""
    match = _MARKED.search(page_source)
    text = match[2] if match else page_source
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _url_or_text(value: str | None, place: Place) -> str | None:
    return None if value is None else place.text(value)


def _read_tls(tls: dict[str, Any], witness: Witness) -> dict[str, Value]:
    certificate = tls["certificate"]
    common: dict[str, Value] = {
        "tls version": tls["version"],
        "certificate subject": certificate["subject"],
        "certificate issuer": certificate["issuer"],
        "certificate not before": datetime.fromisoformat(certificate["not_before"]).timestamp(),
        "certificate not after": datetime.fromisoformat(certificate["not_after"]).timestamp(),
    }
    if witness is Witness.CURL:
        return common | {"tls cipher": tls["cipher"]}
    return common | {"certificate names": ", ".join(sorted(certificate["names"]))}
