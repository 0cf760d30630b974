"""What is shown of a MongoDB URI, and which URIs are refused: no message and no log repeats a secret."""

from __future__ import annotations

import pytest

from metadata_inventory.errors import InvalidSettings
from metadata_inventory.storage.mongo_uri import check_uri, redact_uri


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://user:needle/x@host:1/",
        "mongodb://user:needle@host:needle/",
        "mongodb://user:needle@@host/",
        "mongodb://user:needle%@host/",
        "mongodb://user.needle/x@host",
        "mongodb+srv://user:needle",
        "mongodb+srv://user:needle@",
        "mongodb+srv://user:needle%40host.invalid/db",
        "mongodb+srv://user.needle.aa/b@host",
        "mongodb+srv://user.needle.aa?b@host",
        "mongodb+srv://user:needle@@host/",
        "mongodb+srv://user:needle%@host/",
        "mongodb+srv://user:needle:needle@host/",
        "mongodb+srv://user:needle@host:27017/",
        "mongodb+srv://user:needle@host,other/",
        "mongodb+srv://user:needle@host/?tls=needle",
        "http://user:needle@host/",
        "user:needle@host",
        "mongodb://",
    ],
)
def test_wrong_mongo_uri_is_refused_without_repeating_it(uri: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        check_uri(uri)
    assert caught.value.detail.startswith("mongo_uri must ")
    assert "needle" not in caught.value.detail
    unshown = caught.value.__suppress_context__ or caught.value.__context__ is None
    assert unshown, "the driver's error may quote the password: a traceback must not show it"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://host:27017/", "mongodb://host:27017/"),
        ("mongodb://host?tls=true", "mongodb://host"),
        ("mongodb://[::1]:27017,b.example:1/db", "mongodb://[::1]:27017,b.example:1/db"),
        ("mongodb+srv://cluster.example.net/db?w=1", "mongodb+srv://cluster.example.net/db"),
        ("mongodb+srv://user:needle", "mongodb+srv://***"),
        ("mongodb+srv://user:needle%40host.invalid/db", "mongodb+srv://***"),
        ("mongodb+srv://needle.aa/b@host", "mongodb+srv://***"),
        ("mongodb://user:needle@host/?appName=a@needle", "mongodb://***"),
        ("mongodb://host/needle%2F", "mongodb://***"),
        ("needle://host/", "***"),
        ("mongodb://user:needle@a,b:1/db?tls=true", "mongodb://***@a,b:1/db"),
        ("mongodb+srv://user:needle@host/", "mongodb+srv://***@host/"),
        ("mongodb://user:needle@needle/needle?needle@host/", "mongodb://***"),
        ("mongodb://host/?tlsCertificateKeyFilePassword=needle", "mongodb://host/"),
        ("needle", "***"),
    ],
)
def test_redacted_uri_shows_where_and_not_with_what(uri: str, shown: str) -> None:
    assert redact_uri(uri) == shown


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb+srv://cluster.example.net",
        "mongodb+srv://user:p%40ss@cluster.example.net/db?retryWrites=true&w=majority",
        "mongodb+srv://user@cluster.example.net/?authMechanism=MONGODB-X509&srvMaxHosts=2&srvServiceName=other",
    ],
)
def test_srv_uri_is_taken_without_looking_it_up(uri: str) -> None:
    check_uri(uri)
