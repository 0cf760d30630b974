"""Checks a MongoDB URI before it is used, and makes the form of it that may be shown.

Neither a message nor a log ever shows a user name, a password or an option of the URI, also when the URI is malformed.
The driver's own messages are never passed on: they quote the part that they cannot parse, which can be the password.
Imports the driver only inside `check_uri`, so that the command line starts without it.
Syntax: MongoDB's manual, "Connection Strings".
"""

from __future__ import annotations

import re

from metadata_inventory.errors import InvalidSettings

_SCHEME = re.compile(r"mongodb(\+srv)?://")
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_URI = re.compile(
    r"(?P<scheme>mongodb(?:\+srv)?://)(?P<userinfo>[^@/?#]*@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?P<path>/[A-Za-z0-9_-]*)?(?:\?[^@]*)?"
)
# One host name, no port, and no @ except the one behind user name and password.
_SRV_URI = re.compile(
    r"mongodb\+srv://(?:(?P<userinfo>[^@/?#]*)@)?[A-Za-z0-9._-]+(?:/[^@?]*)?(?:\?(?P<options>[^@]*))?"
)
# An @ behind the path's slash. The driver takes it as part of the database's name; it is more likely an unescaped / in
# a password.
_AT_SIGN_IN_PATH = re.compile(r"[^?]*://[^/?]*/[^?]*@")


def redact_uri(uri: str) -> str:
    """The URI without user name, password and options (`tlsCertificateKeyFilePassword` is one of those).

    When it is not certain which part is which, only the scheme is kept. Otherwise a part of a password with an
    unescaped @, / or ? would be shown, and the whole of one whose @ is missing or escaped.
    """
    if parts := _URI.fullmatch(uri):
        return f"{parts['scheme']}{'***@' if parts['userinfo'] else ''}{parts['hosts']}{parts['path'] or ''}"
    scheme = _SCHEME.match(uri)
    return f"{scheme[0] if scheme else ''}***"


def check_uri(uri: str) -> None:
    """Raises InvalidSettings for a URI that the driver would refuse. Looks nothing up and connects to nothing."""
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import parse_uri

    if not _SCHEME.match(uri):
        raise InvalidSettings("mongo_uri must begin with mongodb:// or mongodb+srv://.")
    try:
        if uri.startswith("mongodb+srv"):
            _check_srv(uri)
        elif _AT_SIGN_IN_PATH.match(uri):
            raise ValueError
        else:
            parse_uri(uri)
    except (PyMongoError, ValueError):
        raise InvalidSettings(
            "mongo_uri must be a valid MongoDB URI, with special characters of the password percent-encoded."
        ) from None


def _check_srv(uri: str) -> None:
    """Parses the URI in parts: the driver would look the whole of it up by DNS, a misread password included."""
    from pymongo.uri_parser import parse_userinfo, split_options

    parts = _SRV_URI.fullmatch(uri)
    if parts is None:
        raise ValueError
    if parts["userinfo"] is not None:
        parse_userinfo(parts["userinfo"])
    if parts["options"]:
        split_options(parts["options"])
