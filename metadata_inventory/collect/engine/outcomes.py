"""Why a transfer ended: libcurl's error and how far it had come → a failure's code, or why the body ends early.

Error 28 is DNS, connect, TLS and response alike, so the phase comes from our own marks, never from an error's text.
Codes and their meaning: RFC 9209 §2.3; libcurl-errors(3).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

import pycurl

from metadata_inventory.model.capture import FailureCode

Truncation = Literal["length", "time", "disconnect"]


class Phase(IntEnum):
    """How far a hop came. Ordered."""

    NAME = 0  # no address yet
    CONNECT = 1  # a socket was opened
    HANDSHAKE = 2  # connected, in the TLS handshake
    REQUEST = 3  # about to send, or sent; nothing came yet
    HEADERS = 4  # inside the response's headers
    BODY = 5  # the final headers are complete


class Stop(IntEnum):
    """Why we ended a transfer ourselves; libcurl then reports whatever the callback's refusal looks like."""

    BODY_LENGTH = 1  # a limit of the body is reached
    REDIRECT = 2  # a redirect's body is not worth more
    SWITCHED = 3  # a 101 ended HTTP
    HEADERS = 4  # the headers are not acceptable
    PROHIBITED = 5  # the destination is refused by rule
    REPEATED = 6  # libcurl repeats the request too often
    FAULT = 7  # a callback of ours failed


DETAILS: Final[dict[FailureCode, str]] = {
    FailureCode.DNS_ERROR: "The host's name does not resolve.",
    FailureCode.DNS_TIMEOUT: "The look-up of the host's name was not answered in time.",
    FailureCode.DESTINATION_IP_PROHIBITED: "The rules of this service do not allow it to connect there.",
    FailureCode.CONNECTION_REFUSED: "The server refused the connection or cannot be reached.",
    FailureCode.CONNECTION_TIMEOUT: "No connection was made in time.",
    FailureCode.CONNECTION_TERMINATED: "The connection ended before the response's headers were complete.",
    FailureCode.TLS_CERTIFICATE_ERROR: "The server's certificate does not verify.",
    FailureCode.TLS_PROTOCOL_ERROR: "The TLS handshake failed.",
    FailureCode.HTTP_PROTOCOL_ERROR: "The server's answer is not acceptable as HTTP.",
    FailureCode.HTTP_RESPONSE_TIMEOUT: "The server did not answer in time.",
    FailureCode.HTTP_RESPONSE_INCOMPLETE: "The response ended inside its headers.",
    FailureCode.TOO_MANY_REDIRECTS: "The redirects lead in a circle or are too many.",
    FailureCode.WORKER_LOST: "The collector's process ended before this collection did.",
    FailureCode.INTERNAL_ERROR: "The collection failed by a fault of this service.",
}

# Errors newer than pycurl's constants; CURLcode in curl/curl.h.
HTTP2_STREAM: Final = 92
HTTP3: Final = 95
QUIC_CONNECT_ERROR: Final = 96
TOO_LARGE: Final = 100
ECH_REQUIRED: Final = 101

# What a GET over HTTP can end with, except the time-out. `OK` means: before the final headers were complete.
CODES: Final[dict[int, FailureCode]] = {
    pycurl.E_OK: FailureCode.HTTP_RESPONSE_INCOMPLETE,
    pycurl.E_UNSUPPORTED_PROTOCOL: FailureCode.HTTP_PROTOCOL_ERROR,  # HTTP/0.9: no status line
    pycurl.E_URL_MALFORMAT: FailureCode.DNS_ERROR,  # all that libcurl can refuse in a normalized URL is its host
    pycurl.E_COULDNT_RESOLVE_HOST: FailureCode.DNS_ERROR,
    pycurl.E_COULDNT_CONNECT: FailureCode.CONNECTION_REFUSED,
    pycurl.E_FTP_WEIRD_SERVER_REPLY: FailureCode.HTTP_PROTOCOL_ERROR,  # CURLE_WEIRD_SERVER_REPLY, also HTTP's
    pycurl.E_HTTP2: FailureCode.HTTP_PROTOCOL_ERROR,
    HTTP3: FailureCode.HTTP_PROTOCOL_ERROR,
    TOO_LARGE: FailureCode.HTTP_PROTOCOL_ERROR,
    pycurl.E_BAD_CONTENT_ENCODING: FailureCode.HTTP_PROTOCOL_ERROR,
    QUIC_CONNECT_ERROR: FailureCode.CONNECTION_REFUSED,
    pycurl.E_PARTIAL_FILE: FailureCode.CONNECTION_TERMINATED,
    HTTP2_STREAM: FailureCode.CONNECTION_TERMINATED,  # the server's reset of one stream
    pycurl.E_GOT_NOTHING: FailureCode.CONNECTION_TERMINATED,
    pycurl.E_SEND_ERROR: FailureCode.CONNECTION_TERMINATED,
    pycurl.E_RECV_ERROR: FailureCode.CONNECTION_TERMINATED,
    pycurl.E_SSL_CONNECT_ERROR: FailureCode.TLS_PROTOCOL_ERROR,
    pycurl.E_SSL_CIPHER: FailureCode.TLS_PROTOCOL_ERROR,
    pycurl.E_SSL_CERTPROBLEM: FailureCode.TLS_PROTOCOL_ERROR,  # a certificate of ours, which we do not have
    ECH_REQUIRED: FailureCode.TLS_PROTOCOL_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION: FailureCode.TLS_CERTIFICATE_ERROR,
    pycurl.E_SSL_ISSUER_ERROR: FailureCode.TLS_CERTIFICATE_ERROR,
    pycurl.E_SSL_PINNEDPUBKEYNOTMATCH: FailureCode.TLS_CERTIFICATE_ERROR,
    pycurl.E_SSL_INVALIDCERTSTATUS: FailureCode.TLS_CERTIFICATE_ERROR,
}

# What only other protocols, options that are not set, or a fault of ours can bring. Listed, so that an error which a
# new libcurl adds is noticed by the test that looks for it in neither table.
FAULTS: Final[frozenset[int]] = frozenset(
    {
        pycurl.E_FAILED_INIT,
        pycurl.E_NOT_BUILT_IN,
        pycurl.E_COULDNT_RESOLVE_PROXY,
        pycurl.E_REMOTE_ACCESS_DENIED,
        pycurl.E_FTP_ACCEPT_FAILED,
        pycurl.E_FTP_WEIRD_PASS_REPLY,
        pycurl.E_FTP_ACCEPT_TIMEOUT,
        pycurl.E_FTP_WEIRD_227_FORMAT,
        pycurl.E_FTP_CANT_GET_HOST,
        pycurl.E_FTP_COULDNT_SET_TYPE,
        pycurl.E_FTP_COULDNT_RETR_FILE,
        pycurl.E_QUOTE_ERROR,
        pycurl.E_HTTP_RETURNED_ERROR,
        pycurl.E_WRITE_ERROR,
        pycurl.E_UPLOAD_FAILED,
        pycurl.E_READ_ERROR,
        pycurl.E_OUT_OF_MEMORY,
        pycurl.E_FTP_PORT_FAILED,
        pycurl.E_FTP_COULDNT_USE_REST,
        pycurl.E_RANGE_ERROR,
        pycurl.E_HTTP_POST_ERROR,
        pycurl.E_BAD_DOWNLOAD_RESUME,
        pycurl.E_FILE_COULDNT_READ_FILE,
        pycurl.E_LDAP_CANNOT_BIND,
        pycurl.E_LDAP_SEARCH_FAILED,
        pycurl.E_FUNCTION_NOT_FOUND,
        pycurl.E_ABORTED_BY_CALLBACK,
        pycurl.E_BAD_FUNCTION_ARGUMENT,
        pycurl.E_INTERFACE_FAILED,
        pycurl.E_TOO_MANY_REDIRECTS,
        pycurl.E_UNKNOWN_OPTION,
        pycurl.E_SSL_ENGINE_NOTFOUND,
        pycurl.E_SSL_ENGINE_SETFAILED,
        pycurl.E_SSL_ENGINE_INITFAILED,
        pycurl.E_LDAP_INVALID_URL,
        pycurl.E_FILESIZE_EXCEEDED,
        pycurl.E_USE_SSL_FAILED,
        pycurl.E_SEND_FAIL_REWIND,
        pycurl.E_LOGIN_DENIED,
        pycurl.E_TFTP_NOTFOUND,
        pycurl.E_TFTP_PERM,
        pycurl.E_REMOTE_DISK_FULL,
        pycurl.E_TFTP_ILLEGAL,
        pycurl.E_TFTP_UNKNOWNID,
        pycurl.E_REMOTE_FILE_EXISTS,
        pycurl.E_TFTP_NOSUCHUSER,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_REMOTE_FILE_NOT_FOUND,
        pycurl.E_SSH,
        pycurl.E_SSL_SHUTDOWN_FAILED,
        pycurl.E_AGAIN,
        pycurl.E_SSL_CRL_BADFILE,
        pycurl.E_FTP_PRET_FAILED,
        pycurl.E_RTSP_CSEQ_ERROR,
        pycurl.E_RTSP_SESSION_ERROR,
        pycurl.E_FTP_BAD_FILE_LIST,
        pycurl.E_CHUNK_FAILED,
        pycurl.E_NO_CONNECTION_AVAILABLE,
        # numbers that libcurl gave up
        pycurl.E_FTP_WEIRD_PASV_REPLY,
        pycurl.E_FTP_WRITE_ERROR,
        pycurl.E_MALFORMAT_USER,
        pycurl.E_FTP_COULDNT_SET_ASCII,
        pycurl.E_FTP_COULDNT_GET_SIZE,
        pycurl.E_LIBRARY_NOT_FOUND,
        pycurl.E_BAD_CALLING_ORDER,
        pycurl.E_BAD_PASSWORD_ENTERED,
        pycurl.E_TELNET_OPTION_SYNTAX,
        pycurl.E_SHARE_IN_USE,
        pycurl.E_CONV_FAILED,
        pycurl.E_CONV_REQD,
        # pycurl's own, of no transfer
        pycurl.E_CALL_MULTI_PERFORM,
        pycurl.E_ALREADY_COMPLETE,
    }
)

_STOPS: Final[dict[Stop, FailureCode]] = {
    Stop.HEADERS: FailureCode.HTTP_PROTOCOL_ERROR,
    Stop.PROHIBITED: FailureCode.DESTINATION_IP_PROHIBITED,
    Stop.REPEATED: FailureCode.CONNECTION_TERMINATED,
}
_TIMEOUTS: Final[dict[Phase, FailureCode]] = {
    Phase.NAME: FailureCode.DNS_TIMEOUT,
    Phase.CONNECT: FailureCode.CONNECTION_TIMEOUT,
    Phase.HANDSHAKE: FailureCode.CONNECTION_TIMEOUT,
    Phase.REQUEST: FailureCode.HTTP_RESPONSE_TIMEOUT,
    Phase.HEADERS: FailureCode.HTTP_RESPONSE_TIMEOUT,
}


def classify(error: int, phase: Phase, stop: Stop | None) -> FailureCode:
    """The code of a hop that ended without final headers; `error` is libcurl's."""
    if stop is not None:
        return _STOPS.get(stop, FailureCode.INTERNAL_ERROR)
    if error == pycurl.E_OPERATION_TIMEDOUT:
        return _TIMEOUTS.get(phase, FailureCode.INTERNAL_ERROR)
    return CODES.get(error, FailureCode.INTERNAL_ERROR)


def find_truncation(error: int, stop: Stop | None) -> Truncation | None:
    """Why a body ends early, once the final headers are complete."""
    if stop is Stop.BODY_LENGTH:
        return "length"
    if error == pycurl.E_OK or stop in (Stop.SWITCHED, Stop.REDIRECT):
        return None
    return "time" if error == pycurl.E_OPERATION_TIMEDOUT else "disconnect"
