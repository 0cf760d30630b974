"""TLS parameters from libcurl's debug lines of real handshakes, and certificates, malformed ones too."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pycurl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from metadata_inventory.collect.parse.tls import (
    HOSTNAME_MISMATCH,
    TlsParameters,
    build_tls,
    parse_certificate,
    read_parameters,
)

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)
SETTINGS_AND_STATUS_200 = b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\1\5\0\0\0\1\x88"


@dataclass(frozen=True)
class Identity:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def save(self, folder: Path) -> Path:
        path = folder / "identity.pem"
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_text(self.pem + self.key.private_bytes(*form).decode())
        return path


def issue(
    *,
    common_name: str = "localhost",
    names: tuple[str, ...] | None = ("localhost",),
    not_before: dt.datetime = NOW - DAY,
    not_after: dt.datetime = NOW + DAY,
    serial: int = 0xABCDEF,
    extensions: tuple[x509.ExtensionType, ...] = (),
) -> Identity:
    """A self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'Tests, "Ltd" + Söhne'),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if names is not None:
        addresses = [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", "::1")]
        alternatives = x509.SubjectAlternativeName([*map(x509.DNSName, names), *addresses])
        builder = builder.add_extension(alternatives, critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Identity(builder.sign(key, hashes.SHA256()), key)


@contextmanager
def serving(
    identity: Path, *, alpn: tuple[str, ...] = (), newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[int]:
    """A server for one connection on the yielded port. It responds 200 in HTTP/1.1 or in HTTP/2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)
    context.maximum_version = newest
    if alpn:
        context.set_alpn_protocols(list(alpn))

    def serve() -> None:
        connection, _ = listener.accept()
        connection.settimeout(10)
        try:
            with context.wrap_socket(connection, server_side=True) as stream:
                stream.recv(4096)
                http2 = stream.selected_alpn_protocol() == "h2"
                stream.sendall(SETTINGS_AND_STATUS_200 if http2 else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                stream.recv(4096)
        except OSError:
            pass  # the client refused the certificate

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def shake_hands(port: int, *, ca_file: Path | None, verify: bool = True) -> tuple[list[str], str, int, str]:
    """libcurl's debug lines, the PEM of the leaf certificate, the error and its text."""
    lines: list[str] = []
    easy = pycurl.Curl()
    easy.setopt(pycurl.URL, f"https://localhost:{port}/")
    easy.setopt(pycurl.RESOLVE, [f"localhost:{port}:127.0.0.1"])
    easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
    easy.setopt(pycurl.PROXY, "")
    easy.setopt(pycurl.TIMEOUT, 10)
    easy.setopt(pycurl.OPT_CERTINFO, 1)
    easy.setopt(pycurl.SSL_VERIFYPEER, verify)
    easy.setopt(pycurl.SSL_VERIFYHOST, 2 if verify else 0)
    easy.setopt(pycurl.VERBOSE, 1)
    easy.setopt(pycurl.WRITEFUNCTION, lambda data: None)
    easy.setopt(
        pycurl.DEBUGFUNCTION,
        lambda kind, data: lines.append(data.decode("latin-1")) if kind == pycurl.INFOTYPE_TEXT else None,
    )
    if ca_file is not None:
        easy.setopt(pycurl.CAINFO, str(ca_file))
    error, words = 0, ""
    try:
        easy.perform()
    except pycurl.error as failure:
        error, words = failure.args
    pem = dict(easy.getinfo(pycurl.INFO_CERTINFO)[0])["Cert"]
    easy.close()
    return lines, pem, error, words


@pytest.mark.parametrize(
    ("alpn", "newest", "expected"),
    [
        pytest.param(("http/1.1",), ssl.TLSVersion.TLSv1_3, ("TLSv1.3", "http/1.1"), id="HTTP/1.1"),
        pytest.param(("h2", "http/1.1"), ssl.TLSVersion.TLSv1_3, ("TLSv1.3", "h2"), id="HTTP/2"),
        pytest.param((), ssl.TLSVersion.TLSv1_2, ("TLSv1.2", None), id="TLS 1.2 without ALPN"),
    ],
)
def test_parameters_are_read_from_a_real_handshake(
    tmp_path: Path, alpn: tuple[str, ...], newest: ssl.TLSVersion, expected: tuple[str, str | None]
) -> None:
    identity = issue()
    path = identity.save(tmp_path)
    with serving(path, alpn=alpn, newest=newest) as port:
        lines, pem, error, _ = shake_hands(port, ca_file=path)
    tls = build_tls(lines, pem)
    assert error == 0
    assert (tls.version, tls.alpn) == expected
    assert tls.cipher is not None
    assert "AES" in tls.cipher or "CHACHA" in tls.cipher
    assert (tls.verified, tls.verify_error) == (True, None)
    assert tls.certificate == parse_certificate(identity.pem)


@pytest.mark.parametrize(
    ("identity", "trusted", "reason"),
    [
        pytest.param(issue(), False, "self-signed certificate", id="not trusted"),
        pytest.param(
            issue(not_before=NOW - 5 * DAY, not_after=NOW - DAY), True, "certificate has expired", id="expired"
        ),
        pytest.param(
            issue(not_before=NOW + DAY, not_after=NOW + 2 * DAY),
            True,
            "certificate is not yet valid",
            id="not yet valid",
        ),
        pytest.param(issue(names=("other.example",)), True, HOSTNAME_MISMATCH, id="another name"),
        pytest.param(issue(names=None, common_name="other.example"), True, HOSTNAME_MISMATCH, id="another subject"),
    ],
)
def test_reason_is_read_from_a_refused_handshake(
    tmp_path: Path, identity: Identity, trusted: bool, reason: str
) -> None:
    path = identity.save(tmp_path)
    with serving(path) as port:
        lines, pem, error, words = shake_hands(port, ca_file=path if trusted else None)
    assert error == pycurl.E_PEER_FAILED_VERIFICATION
    by_lines, by_words = build_tls(lines, pem), build_tls([], pem, words)
    assert (by_lines.verified, by_words.verified) == (False, False)
    assert by_lines.verify_error == by_words.verify_error
    assert str(by_lines.verify_error).startswith(reason)  # OpenSSL's text; some versions append to it
    assert by_lines.version == "TLSv1.3"
    assert by_lines.certificate == parse_certificate(identity.pem)


def test_the_callers_error_takes_precedence_over_the_lines(tmp_path: Path) -> None:
    path = issue().save(tmp_path)
    with serving(path) as port:
        lines, pem, error, _ = shake_hands(port, ca_file=None, verify=False)
    assert error == 0
    assert build_tls(lines, pem, "words of another kind").verify_error == "words of another kind"


@pytest.mark.parametrize(
    "line",
    [
        "  subject: CN=SSL connection using TLSv1.3 / FORGED",
        "  subject: CN=SSL: no alternative certificate subject name matches target hostname 'x'",
        "  subject: CN=x\nSSL connection using TLSv1.3 / FORGED / x",
        "ALPN: curl offers h2,http/1.1",
        "ALPN: server did not agree on a protocol. Uses default.",
        "SSL connection using",
        "SSL certificate verified via OpenSSL.",
        "",
    ],
)
def test_other_lines_change_nothing(line: str) -> None:
    known = TlsParameters("TLSv1.2", "AES", "h2", "x")
    assert read_parameters(line, known) == known


@given(st.text(max_size=100))
def test_no_line_raises(line: str) -> None:
    read_parameters(line)
    build_tls([line], line, line)


def test_certificate_is_read() -> None:
    identity = issue(names=("localhost", "*.example.org"), not_before=NOW - DAY, not_after=NOW + DAY)
    certificate = parse_certificate(identity.pem)
    assert certificate is not None
    assert certificate.subject == certificate.issuer == r"CN=localhost,O=Tests\, \"Ltd\" \+ Söhne"
    assert certificate.names == ("localhost", "*.example.org", "127.0.0.1", "::1")
    assert certificate.serial == "abcdef"
    assert (certificate.not_before, certificate.not_after) == (NOW - DAY, NOW + DAY)
    assert certificate.sha256 == identity.certificate.fingerprint(hashes.SHA256()).hex()


def test_certificate_without_names_has_none() -> None:
    certificate = parse_certificate(issue(names=None).pem)
    assert certificate is not None
    assert certificate.names == ()


def test_malformed_names_are_left_out() -> None:
    malformed = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x87\x01\x01")  # an IP of 1 byte
    certificate = parse_certificate(issue(names=None, extensions=(malformed,)).pem)
    assert certificate is not None
    assert certificate.names == ()
    assert certificate.subject.startswith("CN=localhost")


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n\u0416\ud800\n-----END CERTIFICATE-----\n",
    ],
    ids=["empty", "no PEM", "no content", "no certificate", "no ASCII"],
)
def test_other_text_is_no_certificate(pem: str) -> None:
    assert parse_certificate(pem) is None


DER = issue().certificate.public_bytes(serialization.Encoding.DER)


@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_certificate_raises(changes: list[tuple[int, int]]) -> None:
    der = bytearray(DER)
    for at, value in changes:
        der[at] = value
    certificate = parse_certificate(ssl.DER_cert_to_PEM_cert(bytes(der)))
    if certificate is not None:
        "".join([certificate.subject, certificate.issuer, *certificate.names]).encode("utf-8")
