"""Maps the end of a transfer to a failure code, or to the reason why its body is truncated.

libcurl's error 28 stands for a timeout of DNS, connecting, TLS and the response alike. So the phase comes from what the
callbacks noted, and never from the text of an error. Codes: RFC 9209 §2.3; libcurl-errors(3).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

import pycurl

from metadata_inventory.clock import now
from metadata_inventory.model.capture import Exchange, Failure, FailureCode

Truncation = Literal["length", "time", "disconnect"]


class Phase(IntEnum):
    """How far a hop came, in order."""

    NAME = 0  # the host has no address yet
    CONNECT = 1  # a socket was opened
    HANDSHAKE = 2  # connected, in the TLS handshake
    REQUEST = 3  # the request is being sent, or was sent; no response yet
    HEADERS = 4  # inside the response's headers
    BODY = 5  # the final headers are complete


class Stop(IntEnum):
    """Why one of our callbacks ended a transfer. libcurl then reports an error that says nothing of the reason."""

    BODY_LENGTH = 1  # the body has reached a limit
    SWITCHED = 2  # a 101 ended HTTP
    HEADERS = 3  # the headers exceed a limit or are not HTTP
    PROHIBITED = 4  # the destination policy refuses the destination
    REPEATED = 5  # libcurl has repeated the request too often
    FAULT = 6  # one of our callbacks raised


DETAILS: Final[dict[FailureCode, str]] = {
    FailureCode.DNS_ERROR: "The host's name does not resolve.",
    FailureCode.DNS_TIMEOUT: "The look-up of the host's name took too long.",
    FailureCode.DESTINATION_IP_PROHIBITED: "The destination policy of this service does not allow this connection.",
    FailureCode.CONNECTION_REFUSED: "The server refused the connection or cannot be reached.",
    FailureCode.CONNECTION_TIMEOUT: "No connection was made in time.",
    FailureCode.CONNECTION_TERMINATED: "The connection ended before the response's headers were complete.",
    FailureCode.TLS_CERTIFICATE_ERROR: "The server's certificate does not verify.",
    FailureCode.TLS_PROTOCOL_ERROR: "The TLS handshake failed.",
    FailureCode.HTTP_PROTOCOL_ERROR: "The server's response is not acceptable as HTTP.",
    FailureCode.HTTP_RESPONSE_TIMEOUT: "The server did not respond in time.",
    FailureCode.HTTP_RESPONSE_INCOMPLETE: "The response ended inside its headers.",
    FailureCode.TOO_MANY_REDIRECTS: "The redirects lead in a circle or are too many.",
    FailureCode.WORKER_LOST: "The lane process ended before this collection did.",
    FailureCode.INTERNAL_ERROR: "The collection failed because of an error in this service.",
}

# Errors newer than pycurl's constants; CURLcode in curl/curl.h.
HTTP2_STREAM: Final = 92
HTTP3: Final = 95
QUIC_CONNECT_ERROR: Final = 96
TOO_LARGE: Final = 100
ECH_REQUIRED: Final = 101

# The errors that a GET over HTTP can end with, except the timeout. `E_OK` means: inside the headers.
CODES: Final[dict[int, FailureCode]] = {
    pycurl.E_OK: FailureCode.HTTP_RESPONSE_INCOMPLETE,
    pycurl.E_UNSUPPORTED_PROTOCOL: FailureCode.HTTP_PROTOCOL_ERROR,  # HTTP/0.9: no status line
    pycurl.E_URL_MALFORMAT: FailureCode.DNS_ERROR,  # the host is all that libcurl can refuse in a normalized URL
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

# Errors that only other protocols, options that are not set, or a defect of this program can cause. They are listed so
# that a test notices each error that a new libcurl adds: it is in neither table.
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
        # numbers that libcurl no longer uses
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
        # pycurl's own, which no transfer ends with
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
    """The failure code of a hop that ended before its final headers were complete; `error` is libcurl's."""
    if stop is not None:
        return _STOPS.get(stop, FailureCode.INTERNAL_ERROR)
    if error == pycurl.E_OPERATION_TIMEDOUT:
        return _TIMEOUTS.get(phase, FailureCode.INTERNAL_ERROR)
    return CODES.get(error, FailureCode.INTERNAL_ERROR)


def build_failure(code: FailureCode, words: str = "", exchanges: tuple[Exchange, ...] = ()) -> Failure:
    """A failure of this instant. Its detail is the code's own sentence, with `words` in brackets behind it."""
    detail = f"{DETAILS[code]} ({words})" if words else DETAILS[code]
    return Failure(code=code, detail=detail, at=now(), exchanges=exchanges)


def find_truncation(error: int, stop: Stop | None) -> Truncation | None:
    """Why the body of a hop with complete final headers is truncated; None when it is whole. `error` is libcurl's."""
    if stop is Stop.BODY_LENGTH:
        return "length"
    if error == pycurl.E_OK or stop is Stop.SWITCHED:
        return None
    return "time" if error == pycurl.E_OPERATION_TIMEDOUT else "disconnect"
