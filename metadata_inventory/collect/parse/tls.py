"""What a TLS handshake said: the parameters from libcurl's debug lines, the certificate from its PEM.

libcurl has no option that tells version, cipher and ALPN; its DEBUGFUNCTION says them in words (read here as libcurl
8.23 with OpenSSL writes them; a test performs real handshakes, so a change of wording is seen). Whatever the lines or
the certificate hold, nothing raises: what cannot be read is missing.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from metadata_inventory.model.capture import Certificate, Tls

# libcurl compares names itself, after OpenSSL; these are OpenSSL's own words for it (X509_V_ERR_HOSTNAME_MISMATCH).
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
    """What the debug lines have told so far. `alpn` stays None when the server chose no protocol."""

    version: str | None = None
    cipher: str | None = None
    alpn: str | None = None
    verify_error: str | None = None


def read_parameters(line: str, known: TlsParameters = TlsParameters()) -> TlsParameters:
    """`known` with what this line adds; unchanged when the line tells none of these. Lines may come in any order."""
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
    """The handshake as it is recorded. `verify_error`, libcurl's own words or OpenSSL's, stands before what the lines
    say: a caller who did not let libcurl verify knows better. Without either the certificate counts as verified.
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
    """The certificate, None when it cannot be parsed. A name or a list of names that is malformed is left empty.

    `subject` and `issuer` are RFC 4514 strings.
    """
    with warnings.catch_warnings():
        # Of serial numbers and encodings that RFC 5280 forbids and servers have.
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
