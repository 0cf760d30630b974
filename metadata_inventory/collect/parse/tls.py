"""Reads the parameters of a TLS handshake from libcurl's debug lines, and the certificate from its PEM.

libcurl has no option that reports version, cipher and ALPN. Its DEBUGFUNCTION reports them as text, which is read here
as libcurl 8.23 with OpenSSL writes it; a test performs real handshakes, so that it notices other wording. No line and
no certificate raises: what cannot be read is missing.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from metadata_inventory.model.capture import Certificate, Tls

# OpenSSL's text for X509_V_ERR_HOSTNAME_MISMATCH. libcurl compares names itself and has a text of its own for it.
HOSTNAME_MISMATCH = "hostname mismatch"

_CONNECTION = re.compile(r"SSL connection using (\S+) / (\S+)(?: / .*)?")
_ALPN = re.compile(r"ALPN: server (?:accepted (\S+)|confirmed to use '([^']+)')")
_VERIFY_RESULT = re.compile(r"SSL certificate (?:OpenSSL )?verify result: (.+) \([0-9]+\)(?:, continuing anyway\.)?")
_NAME_MISMATCH = re.compile(
    r"SSL: (?:no alternative certificate subject name matches target|"
    r"certificate subject name '.*' does not match target) (?:hostname|[Ii][Pp]v[46] address|host name) .*"
)
_MALFORMED = (ValueError, TypeError, x509.UnsupportedGeneralNameType, x509.DuplicateExtension, x509.InvalidVersion)


@dataclass(frozen=True, slots=True)
class TlsParameters:
    """The parameters in the debug lines so far. `alpn` stays None if the server chose no protocol."""

    version: str | None = None
    cipher: str | None = None
    alpn: str | None = None
    verify_error: str | None = None


def read_parameters(line: str, known: TlsParameters = TlsParameters()) -> TlsParameters:
    """`known` with the parameters of this line; unchanged if it has none. Lines may come in any order."""
    line = line.strip()
    if match := _CONNECTION.fullmatch(line):
        return replace(known, version=match[1], cipher=match[2])
    if match := _ALPN.fullmatch(line):
        return replace(known, alpn=match[1] or match[2])
    if match := _VERIFY_RESULT.fullmatch(line):
        return replace(known, verify_error=match[1])
    if _NAME_MISMATCH.fullmatch(line):
        return replace(known, verify_error=HOSTNAME_MISMATCH)
    return known


def build_tls(lines: Iterable[str], pem: str | None, verify_error: str | None = None) -> Tls:
    """The handshake as it is recorded.

    `verify_error`, in libcurl's or OpenSSL's text, takes precedence over the lines: a caller who told libcurl not to
    verify knows the error from before. Without an error in either, the certificate is recorded as verified.
    """
    parameters = TlsParameters()
    for line in lines:
        parameters = read_parameters(line, parameters)
    error = read_parameters(verify_error).verify_error or verify_error if verify_error else parameters.verify_error
    return Tls(
        version=parameters.version,
        cipher=parameters.cipher,
        alpn=parameters.alpn,
        verified=error is None,
        verify_error=error,
        certificate=parse_certificate(pem) if pem else None,
    )


def parse_certificate(pem: str) -> Certificate | None:
    """The certificate; None if it cannot be parsed. Malformed names, or lists of names, are left empty.

    `subject` and `issuer` are RFC 4514 strings.
    """
    with warnings.catch_warnings():
        # The warnings are about serial numbers and encodings that RFC 5280 forbids and servers have.
        warnings.simplefilter("ignore")
        try:
            certificate = x509.load_pem_x509_certificate(pem.encode("ascii", "replace"))
            return Certificate(
                subject=_or_empty(lambda: certificate.subject.rfc4514_string()),
                issuer=_or_empty(lambda: certificate.issuer.rfc4514_string()),
                names=_read_names(certificate),
                serial=format(certificate.serial_number, "x"),
                not_before=certificate.not_valid_before_utc,
                not_after=certificate.not_valid_after_utc,
                sha256=certificate.fingerprint(SHA256()).hex(),
            )
        except _MALFORMED:
            return None


def _or_empty(read: Callable[[], str]) -> str:
    try:
        return read()
    except _MALFORMED:
        return ""


def _read_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = names.get_values_for_type(x509.IPAddress)
    except (x509.ExtensionNotFound, *_MALFORMED):
        return ()
    return (*names.get_values_for_type(x509.DNSName), *(str(address) for address in addresses))
