"""Reads where a response redirects to: RFC 9110 §15.4 (status codes) and §10.2.2 (Location). Pure."""

from __future__ import annotations

import re

from metadata_inventory.collect.parse.headers import HeaderReader, raw_value
from metadata_inventory.errors import InvalidUrl
from metadata_inventory.model.urls import normalize, resolve

STATUS_CODES = frozenset({301, 302, 303, 307, 308})

_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


def find_redirect(url: str, reader: HeaderReader) -> str | None:
    """The URL that the response of `url` redirects to, not normalized; None when the response is final.

    A redirect that cannot be followed is final: without a Location, or with one that no URL can be made of.
    """
    # An empty Location is none, as in browsers.
    locations = [raw_value(one) for one in reader.headers if one.name.lower() == "location" and one.value]
    if reader.status_code not in STATUS_CODES or not locations:
        return None
    target = resolve(url, _escape(locations[0]))
    if target is None:
        return None
    try:
        normalize(target)
    except InvalidUrl:  # another scheme, userinfo, a host that cannot be connected to
        return None
    return target


def _escape(location: bytes) -> str:
    """Percent-encode bytes beyond ASCII one by one, whatever their charset: browsers send them back like that."""
    return _BEYOND_ASCII.sub(lambda match: b"%%%02X" % match[0][0], location).decode("ascii")
