"""Recognises the variables that Kubernetes sets for a Service, which look like settings of this program.

The kubelet gives each container variables for every Service of its namespace. Those of a Service called `inventory`, or
whose name begins with `inventory-`, begin like this program's settings; `INVENTORY_PORT` even has the name of one. A
variable is recognised only when both its name and its value have the exact form, so that a misspelt setting is still
refused.

Forms: Kubernetes' documentation, "Service", "Environment variables"; the kubelet's pkg/kubelet/envvars, `FromServices`
and `makeLinkVariables`. Dashes and dots of names are underscores there; an IPv6 address is in brackets inside a URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SERVICE = r"INVENTORY(?:_[A-Z0-9_]+)?"
_PROTOCOL = "(?:tcp|udp|sctp)"
_ADDRESS = r"(?:[0-9.]{7,15}|[0-9A-Fa-f:.]{2,45})"
_NUMBER = "[0-9]{1,5}"
_URL = rf"{_PROTOCOL}://(?:{_ADDRESS}|\[{_ADDRESS}\]):{_NUMBER}"
_LINK = rf"{_SERVICE}_PORT_{_NUMBER}_{_PROTOCOL.upper()}"

# The forms of name and value together, as NAME=VALUE.
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"{_SERVICE}_SERVICE_HOST={_ADDRESS}",
        rf"{_SERVICE}_SERVICE_PORT={_NUMBER}",
        rf"{_SERVICE}_SERVICE_PORT_[A-Z0-9_]+={_NUMBER}",  # one for each port that has a name
        rf"{_SERVICE}_PORT={_URL}",
        rf"{_LINK}={_URL}",
        rf"{_LINK}_PROTO={_PROTOCOL}",
        rf"{_LINK}_PORT={_NUMBER}",
        rf"{_LINK}_ADDR={_ADDRESS}",
    )
)


def find_service_variables(environ: Mapping[str, str]) -> list[str]:
    """The names of the variables that Kubernetes has set for Services, sorted."""
    return sorted(name for name, value in environ.items() if any(form.fullmatch(f"{name}={value}") for form in _FORMS))
