"""Certificates as they should not be, each made when it is first needed, and contexts that present them."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

HERE = ("127.0.0.1", "localhost")

_SHA256 = bytes.fromhex("2a864886f70d01010b")  # sha256WithRSAEncryption
_SHA1 = bytes.fromhex("2a864886f70d010105")  # sha1WithRSAEncryption

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Signer:
    """Somebody who issues certificates: the subject and the key. `certificate` is None for who signs for itself."""

    subject: x509.Name
    key: Key
    certificate: x509.Certificate | None


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a leaf certificate shall be like. Days count from now."""

    names: tuple[str, ...] = HERE
    common_name: str = "localhost"
    from_day: int = -1
    to_day: int = 1
    weak_key: bool = False
    weak_digest: bool = False
    own_signature: bool = False
    intermediate: bool = False  # issued by an authority below ours, whose certificate is not sent


@cache
def authority() -> Signer:
    """The authority that trusting cases trust."""
    return _make_authority("Odd test CA", None)


@cache
def intermediate() -> Signer:
    return _make_authority("Odd intermediate CA", authority())


def authority_pem() -> bytes:
    certificate = authority().certificate
    assert certificate is not None
    return certificate.public_bytes(serialization.Encoding.PEM)


@cache
def context(wanted: Wanted = Wanted(), *, h2: bool = False) -> ssl.SSLContext:
    """A server's context that presents such a certificate; with `h2` it speaks HTTP/2."""
    pem = serialization.Encoding.PEM
    leaf, key = _issue(wanted)
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers("ALL:@SECLEVEL=0")
    if h2:
        made.set_alpn_protocols(["h2"])
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(leaf.public_bytes(pem) + secret)
        file.flush()
        made.load_cert_chain(file.name)
    return made


def fresh_context(wanted: Wanted = Wanted()) -> ssl.SSLContext:
    """One of the caller's own, to be changed."""
    return context.__wrapped__(wanted)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _begin(subject: x509.Name, issuer: x509.Name, key: Key, wanted: Wanted) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=wanted.from_day))
        .not_valid_after(now + timedelta(days=wanted.to_day))
    )


def _make_authority(name: str, parent: Signer | None) -> Signer:
    key = rsa.generate_private_key(65537, 2048)  # RSA: an elliptic curve's signature is never made with SHA-1 here
    signer = parent or Signer(_name(name), key, None)
    certificate = (
        _begin(_name(name), signer.subject, key, Wanted())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(signer.key, hashes.SHA256())
    )
    return Signer(_name(name), key, certificate)


def _issue(wanted: Wanted) -> tuple[x509.Certificate, Key]:
    key: Key = rsa.generate_private_key(65537, 1024) if wanted.weak_key else ec.generate_private_key(ec.SECP256R1())
    signer = intermediate() if wanted.intermediate else authority()
    if wanted.own_signature:
        signer = Signer(_name(wanted.common_name), key, None)
    builder = _begin(_name(wanted.common_name), signer.subject, key, wanted)
    if wanted.names:
        subjects = [_subject(name) for name in wanted.names]
        builder = builder.add_extension(x509.SubjectAlternativeName(subjects), critical=False)
    leaf = builder.sign(signer.key, hashes.SHA256())
    return _sign_with_sha1(leaf, signer.key) if wanted.weak_digest else leaf, key


def _sign_with_sha1(leaf: x509.Certificate, key: Key) -> x509.Certificate:
    """The same with the algorithm's name changed, which is as long, and signed anew: `cryptography` signs none."""
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(leaf.tbs_certificate_bytes.replace(_SHA256, _SHA1), padding.PKCS1v15(), hashes.SHA1())
    whole = leaf.public_bytes(serialization.Encoding.DER).replace(_SHA256, _SHA1)
    return x509.load_der_x509_certificate(whole[: -len(signature)] + signature)


def _subject(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
