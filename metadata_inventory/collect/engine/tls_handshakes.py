"""Remembers the TLS parameters of each connection for as long as libcurl may reuse the connection.

On a reused connection libcurl reports nothing: CERTINFO is empty, and version, cipher and ALPN stand only in the debug
lines of the handshake. So they are read once and kept under the connection's number (CURLINFO_CONN_ID).
"""

from __future__ import annotations

from collections import OrderedDict

import pycurl

from metadata_inventory.collect.engine.hop import Hop
from metadata_inventory.collect.engine.outcomes import Phase
from metadata_inventory.collect.parse.tls import build_tls
from metadata_inventory.model.capture import Tls


class TlsHandshakes:
    """The parameters by connection. `limit` bounds how many are kept; the least recently used go first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[int, Tls] = OrderedDict()
        self._connected: list[Hop] = []  # since the last `read`

    def connect(self, hop: Hop) -> None:
        """Note that the hop has just got its connection. For use in a callback, where no handle may be queried."""
        self._connected.append(hop)

    def read(self) -> None:
        """Set `tls` of every hop noted since the last call. Not for use in a callback."""
        for hop in self._connected:
            self._read(hop)
        self._connected.clear()

    def _read(self, hop: Hop) -> None:
        if not hop.url.startswith("https:"):
            return
        number: int = hop.easy.getinfo(pycurl.CONN_ID)
        if hop.easy.getinfo(pycurl.APPCONNECT_TIME_T):  # the handshake was this hop's own
            self._known[number] = _read_parameters(hop, hop.handshake_notes, hop.verify_error)
            while len(self._known) > self._limit:
                self._known.popitem(last=False)
        parameters = self._known.get(number)
        if parameters is not None:
            self._known.move_to_end(number)
            hop.tls = parameters


def describe_handshake(hop: Hop, verify_error: str | None) -> Tls | None:
    """The parameters of a hop that failed inside its handshake, as far as they are known; None if none is."""
    if hop.phase is not Phase.HANDSHAKE or not hop.url.startswith("https:"):
        return None
    tls = _read_parameters(hop, hop.notes, verify_error)
    return tls if tls.version or tls.certificate else None


def _read_parameters(hop: Hop, notes: list[str], verify_error: str | None) -> Tls:
    chain: list[tuple[tuple[str, str], ...]] = hop.easy.getinfo(pycurl.INFO_CERTINFO)
    pem = next((value for name, value in chain[0] if name == "Cert"), None) if chain else None
    return build_tls(notes, pem, verify_error)
