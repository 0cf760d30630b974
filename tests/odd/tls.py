"""TLS: certificates that do not verify, and handshakes that do not come to their end."""

from __future__ import annotations

import socket
import ssl
import time
import warnings
from collections.abc import Callable
from functools import cache

from metadata_inventory.model.capture import FailureCode, Outcome
from tests.odd.case import HELLO, Case, Expected, failure, page
from tests.odd.certificates import Wanted, context, fresh_context
from tests.odd.server import Conversation, OddServer, Serve, first_and_others, keeps_answering, moved, routes, whole

SOUND = Wanted()


def over_tls(inner: Serve, wanted: Wanted = SOUND) -> Serve:
    """A server that presents such a certificate."""

    def serve(conversation: Conversation) -> None:
        conversation.secure(context(wanted))
        inner(conversation)

    return serve


def says_why(error: str) -> Callable[[Outcome, OddServer], None]:
    """OpenSSL's words, of which newer versions say more."""

    def check(outcome: Outcome, server: OddServer) -> None:
        tls = outcome.exchanges[-1].tls
        assert tls is not None
        assert (tls.verify_error or "").startswith(error)

    return check


def certificate(name: str, does: str, error: str, wanted: Wanted, host: str = "127.0.0.1") -> tuple[Case, Case]:
    """Refused, and kept where the setting says so."""
    refused = Case(
        name=name,
        does=does,
        says="the certificate does not verify; it is shown, with the reason",
        serve=over_tls(keeps_answering(whole()), wanted),
        scheme="https",
        host=host,
        trusting=not wanted.own_signature,
        expect=failure(FailureCode.TLS_CERTIFICATE_ERROR, says_why(error), verified=False, certified=True, asked=False),
    )
    kept = Case(
        name=f"{name}-recorded",
        does=f"{does}, while `tls_verify` is `record`",
        says="the page, `verified: false`, with the reason and the certificate",
        serve=refused.serve,
        scheme="https",
        host=host,
        trusting=refused.trusting,
        options={"tls_verify": "record"},
        expect=page(says_why(error), verified=False, certified=True, body=HELLO),
    )
    return refused, kept


def handshake(name: str, does: str, says: str, serve: Serve, expect: Expected, **rest: object) -> Case:
    return Case(name=name, does=does, says=says, serve=serve, scheme="https", expect=expect, **rest)  # type: ignore[arg-type]


def reads_hello(conversation: Conversation) -> None:
    conversation.sock.recv(65536)


def speaks_plain_text(conversation: Conversation) -> None:
    reads_hello(conversation)
    conversation.send(whole(status=b"400 Bad Request"))


def resets_in_handshake(conversation: Conversation) -> None:
    reads_hello(conversation)
    conversation.reset()


def hangs_in_handshake(conversation: Conversation) -> None:
    reads_hello(conversation)
    conversation.wait()


def drips_in_handshake(conversation: Conversation) -> None:
    reads_hello(conversation)
    conversation.drip(bytes.fromhex("1603033fff") + bytes(10_000), 0.01)


def sends_alert(conversation: Conversation) -> None:
    reads_hello(conversation)
    conversation.send(bytes.fromhex("15030300020228"))  # fatal, handshake_failure
    conversation.wait()


@cache
def only_version(version: ssl.TLSVersion) -> ssl.SSLContext:
    made = fresh_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what it is for
        made.minimum_version = ssl.TLSVersion.TLSv1
        made.maximum_version = version
    return made


@cache
def asks_for_certificate() -> ssl.SSLContext:
    made = fresh_context()
    made.maximum_version = ssl.TLSVersion.TLSv1_2  # where the handshake itself fails, and not what follows it
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def speaks_old_tls(conversation: Conversation) -> None:
    conversation.secure(only_version(ssl.TLSVersion.TLSv1_1))
    keeps_answering(whole())(conversation)


def speaks_tls_1_2(conversation: Conversation) -> None:
    conversation.secure(only_version(ssl.TLSVersion.TLSv1_2))
    keeps_answering(whole())(conversation)


def wants_certificate(conversation: Conversation) -> None:
    conversation.secure(asks_for_certificate())
    keeps_answering(whole())(conversation)


def resets_after_handshake(conversation: Conversation) -> None:
    conversation.secure(context())
    conversation.read_request()
    time.sleep(0.05)
    conversation.reset()


def ends_body_without_close_notify(conversation: Conversation) -> None:
    conversation.secure(context())
    conversation.read_request()
    conversation.send(b"HTTP/1.1 200 OK\r\n\r\nhello")  # leaving closes the socket below TLS


def closes_properly(conversation: Conversation) -> None:
    ends_body_without_close_notify(conversation)
    assert isinstance(conversation.sock, ssl.SSLSocket)
    conversation.sock.unwrap()


def breaks_a_record(conversation: Conversation) -> None:
    conversation.secure(context())
    conversation.read_request()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
    raw = conversation.sock.detach()
    with socket.socket(fileno=raw) as plain:
        plain.sendall(bytes.fromhex("1703030014") + bytes(20))
        plain.settimeout(1)
        plain.recv(100)


def shares_its_session(outcome: Outcome, server: OddServer) -> None:
    assert len(server.conversations) == 1


CASES = (
    *certificate(
        "certificate-expired",
        "has a certificate that has expired",
        "certificate has expired",
        Wanted(from_day=-9, to_day=-2),
    ),
    *certificate(
        "certificate-of-tomorrow",
        "has a certificate that is not valid yet",
        "certificate is not yet valid",
        Wanted(from_day=2, to_day=9),
    ),
    *certificate(
        "certificate-self-signed",
        "has a certificate that it has signed itself",
        "self-signed certificate",
        Wanted(own_signature=True),
    ),
    *certificate(
        "certificate-of-another-host",
        "has a certificate for another host",
        "hostname mismatch",
        Wanted(names=("elsewhere.example",)),
        host="localhost",
    ),
    *certificate(
        "certificate-of-another-address",
        "has a certificate for another address",
        "hostname mismatch",
        Wanted(names=("127.0.0.9",)),
    ),
    *certificate(
        "certificate-with-common-name-alone",
        "has a certificate whose names stand in its subject alone",
        "hostname mismatch",
        Wanted(names=("elsewhere.example",), common_name="localhost"),
        host="localhost",
    ),
    *certificate(
        "certificate-without-its-issuer",
        "does not send the intermediate certificate that issued its own",
        "unable to get local issuer certificate",
        Wanted(intermediate=True),
    ),
    *certificate(
        "certificate-with-weak-key",
        "has a certificate with an RSA key of 1,024 bits",
        "EE certificate key too weak",
        Wanted(weak_key=True),
    ),
    *certificate(
        "certificate-with-weak-digest",
        "has a certificate signed with SHA-1",
        "CA signature digest algorithm too weak",
        Wanted(weak_digest=True),
    ),
    Case(
        name="redirect-to-expired-certificate",
        does="redirects to a server whose certificate has expired",
        says="the certificate does not verify; the redirect and the certificate are shown",
        serve=first_and_others(
            over_tls(routes({"/": moved(b"https://127.0.0.1:{port}/x")})),
            over_tls(keeps_answering(whole()), Wanted(from_day=-9, to_day=-2)),
        ),
        scheme="https",
        host="localhost",
        trusting=True,
        expect=failure(
            FailureCode.TLS_CERTIFICATE_ERROR,
            hops=2,
            verify_error="certificate has expired",
            certified=True,
            asked=False,
        ),
    ),
    handshake(
        "tls-1.3-page",
        "has a certificate that verifies",
        "the page, with version, cipher and certificate",
        over_tls(keeps_answering(whole())),
        page(verified=True, verify_error=None, certified=True, tls_version="TLSv1.3", body=HELLO),
        trusting=True,
    ),
    handshake(
        "tls-reused-connection",
        "responds to a second collection on the first one's connection",
        "the page, with the same TLS parameters, certificate and address as on the first",
        over_tls(keeps_answering(whole())),
        page(shares_its_session, verified=True, certified=True, tls_version="TLSv1.3", reached=True, body=HELLO),
        trusting=True,
        before=("/first",),
    ),
    handshake(
        "tls-1.2-page",
        "speaks TLS 1.2 at most",
        "the page",
        speaks_tls_1_2,
        page(verified=True, certified=True, tls_version="TLSv1.2", body=HELLO),
        trusting=True,
    ),
    handshake(
        "tls-1.1-only",
        "speaks TLS 1.1 at most",
        "the handshake failed",
        speaks_old_tls,
        failure(FailureCode.TLS_PROTOCOL_ERROR, asked=False),
        trusting=True,
    ),
    handshake(
        "tls-wants-our-certificate",
        "requires a client certificate",
        "the handshake failed",
        wants_certificate,
        failure(FailureCode.TLS_PROTOCOL_ERROR, asked=False),
        trusting=True,
    ),
    handshake(
        "tls-alert",
        "responds to the handshake with an alert",
        "the handshake failed",
        sends_alert,
        failure(FailureCode.TLS_PROTOCOL_ERROR, certified=False, asked=False),
    ),
    handshake(
        "tls-plain-text",
        "responds to the handshake with HTTP in plain text",
        "the handshake failed",
        speaks_plain_text,
        failure(FailureCode.TLS_PROTOCOL_ERROR, asked=False),
    ),
    handshake(
        "tls-close-in-handshake",
        "reads the first message of the handshake and closes",
        "the handshake failed",
        reads_hello,
        failure(FailureCode.TLS_PROTOCOL_ERROR, asked=False),
    ),
    handshake(
        "tls-reset-in-handshake",
        "reads the first message of the handshake and resets",
        "the handshake failed",
        resets_in_handshake,
        failure(FailureCode.TLS_PROTOCOL_ERROR, asked=False),
    ),
    handshake(
        "tls-hang-in-handshake",
        "reads the first message of the handshake and says nothing",
        "a time-out of the connection",
        hangs_in_handshake,
        failure(FailureCode.CONNECTION_TIMEOUT, asked=False),
        deadline_ms=400,
        waits=True,
    ),
    handshake(
        "tls-drip-in-handshake",
        "sends its part of the handshake byte by byte",
        "a time-out of the connection",
        drips_in_handshake,
        failure(FailureCode.CONNECTION_TIMEOUT, asked=False),
        deadline_ms=400,
        waits=True,
    ),
    handshake(
        "tls-reset-after-request",
        "resets after the request came",
        "the connection ended before the response; the TLS parameters are shown",
        resets_after_handshake,
        failure(FailureCode.CONNECTION_TERMINATED, asked=True, verified=True, certified=True),
        trusting=True,
    ),
    handshake(
        "tls-no-close-notify",
        "ends a body without a length by closing the socket below TLS",
        "`disconnect`, and what came: anybody on the way could have cut it there",
        ends_body_without_close_notify,
        page(truncated="disconnect", body=HELLO),
        trusting=True,
    ),
    handshake(
        "tls-close-notify",
        "ends a body without a length by closing TLS",
        "the page",
        closes_properly,
        page(body=HELLO),
        trusting=True,
    ),
    handshake(
        "tls-broken-record",
        "sends a TLS record inside the body that does not decrypt",
        "`disconnect`, and what came",
        breaks_a_record,
        page(truncated="disconnect", body=HELLO),
        trusting=True,
    ),
)
