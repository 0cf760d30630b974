"""What test suites that live outside this repository import of it: names and signatures that stay, whatever moves.

`tests/test_conformance.py` holds them.
"""

from __future__ import annotations

from metadata_inventory.collect.engine.curl_options import configure, name_addresses
from metadata_inventory.collect.engine.resolver import is_address
from metadata_inventory.collect.parse.content_type import identify, parse_media_type
from metadata_inventory.collect.parse.cookie_jar import CookieJar
from metadata_inventory.collect.parse.set_cookie import parse_cookie_date, parse_set_cookie
from metadata_inventory.errors import InvalidUrl
from metadata_inventory.model.charsets import decode, find_charset
from metadata_inventory.model.destinations import DestinationPolicy
from metadata_inventory.model.urls import normalize, resolve
from tests.support.options import collector_options as CollectorOptions

__all__ = [
    "CollectorOptions",
    "CookieJar",
    "DestinationPolicy",
    "InvalidUrl",
    "configure",
    "decode",
    "find_charset",
    "identify",
    "is_address",
    "name_addresses",
    "normalize",
    "parse_cookie_date",
    "parse_media_type",
    "parse_set_cookie",
    "resolve",
]
