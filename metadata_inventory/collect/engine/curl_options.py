"""What every transfer is set to, option by option. Source: curl_easy_setopt(3) and each option's page; libcurl 8.23."""

from __future__ import annotations

import contextlib
import socket
from ipaddress import IPv6Address, ip_address

import certifi
import pycurl

from metadata_inventory.collect.options import CollectorOptions

ACCEPT_ENCODING = "gzip, deflate, br, zstd"  # what collect.coding decodes


def configure(easy: pycurl.Curl, options: CollectorOptions, url: str, *, timeout_ms: int, verify: bool) -> None:
    """Prepare a fresh handle for one GET of `url`; callbacks, cookies and addresses are the caller's."""
    easy.setopt(pycurl.URL, url)
    # libcurl would else spell a path's escapes in upper case (8.23): another URL than the recorded one to some servers.
    easy.setopt(pycurl.REQUEST_TARGET, "/" + url.split("/", 3)[3])
    easy.setopt(pycurl.NOSIGNAL, 1)  # libcurl's resolver would else use SIGALRM
    _keep_to_http(easy, options)
    easy.setopt(pycurl.USERAGENT, options.user_agent)
    easy.setopt(pycurl.HTTPHEADER, [f"Accept: {options.accept}"])
    # Named but not undone: libcurl's own decoding loses the body on an unknown or broken coding and calls a gzip that
    # is cut short a success.
    easy.setopt(pycurl.ACCEPT_ENCODING, ACCEPT_ENCODING)
    easy.setopt(pycurl.HTTP_CONTENT_DECODING, 0)
    easy.setopt(pycurl.TIMEOUT_MS, timeout_ms)
    easy.setopt(pycurl.CONNECTTIMEOUT_MS, min(max(1, round(options.connect_timeout_s * 1000)), timeout_ms))
    easy.setopt(pycurl.LOW_SPEED_LIMIT, options.low_speed_bytes_per_s)
    easy.setopt(pycurl.LOW_SPEED_TIME, options.low_speed_s)
    easy.setopt(pycurl.BUFFERSIZE, 64 * 1024)
    _set_tls(easy, options, verify=verify)


def _keep_to_http(easy: pycurl.Curl, options: CollectorOptions) -> None:
    easy.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    easy.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    easy.setopt(pycurl.FOLLOWLOCATION, 0)  # by hand: every hop is checked and recorded
    easy.setopt(pycurl.PROXY, "")  # "" also switches off what the environment says
    easy.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
    easy.setopt(pycurl.PATH_AS_IS, 1)  # the URL is normalized already; a record names what was asked for
    version = pycurl.CURL_HTTP_VERSION_3 if options.allow_http3 else pycurl.CURL_HTTP_VERSION_2TLS
    easy.setopt(pycurl.HTTP_VERSION, version)


def _set_tls(easy: pycurl.Curl, options: CollectorOptions, *, verify: bool) -> None:
    easy.setopt(pycurl.CAINFO, options.ca_file or certifi.where())
    easy.unsetopt(pycurl.CAPATH)
    easy.setopt(pycurl.SSL_VERIFYPEER, 1 if verify else 0)
    easy.setopt(pycurl.SSL_VERIFYHOST, 2 if verify else 0)
    easy.setopt(pycurl.OPT_CERTINFO, 1)
    # A resumed session sends no certificate, so CERTINFO would be empty (libcurl 8.23 with OpenSSL).
    easy.setopt(pycurl.SSL_SESSIONID_CACHE, 0)


def name_addresses(easy: pycurl.Curl, host: str, port: int, addresses: tuple[str, ...]) -> None:
    """Tell libcurl what a name resolves to, so that it does not look itself; "+" lets the entry age (RESOLVE)."""
    texts = [f"[{address}]" if ":" in address else address for address in addresses]
    easy.setopt(pycurl.RESOLVE, [f"+{host}:{port}:{','.join(texts)}"])


class LentSocket(socket.socket):
    """A socket for pycurl, which makes a duplicate of it: closed, without a warning, when nobody has it any more."""

    def __del__(self) -> None:
        self.close()


def is_own(ip: str, port: int) -> bool:
    """Whether the address is one of this host now, as the kernel routes; nothing is sent. Takes some 20 µs.

    Connecting a datagram socket only chooses its own end: to an own address, that address. An IPv4 address beside
    the first of its network is left from the first one, so there the socket is bound before. That fails for another
    host's address, or with ip_nonlocal_bind the connecting does. Any failure, such as no route: not ours.
    """
    address = ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else address
    family, text = (socket.AF_INET6, ip) if mapped is None else (socket.AF_INET, str(mapped))
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        if family == socket.AF_INET:
            probe.bind((text, 0))
        probe.connect((text, port))
        return bool(probe.getsockname()[0] == text)
    return False


def open_socket(address: pycurl.CurlSockAddr) -> socket.socket | int:
    """A socket for an address that may be dialled; SOCKET_BAD when the host has none of this family."""
    try:
        return LentSocket(address.family, address.socktype, address.protocol)
    except OSError:
        return pycurl.SOCKET_BAD
