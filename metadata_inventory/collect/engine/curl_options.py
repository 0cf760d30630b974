"""Sets the options of each transfer, one by one. Source: curl_easy_setopt(3) and the options' pages; libcurl 8.23."""

from __future__ import annotations

import contextlib
import socket
from ipaddress import IPv6Address, ip_address

import certifi
import pycurl

from metadata_inventory.collect.options import CollectorOptions

ACCEPT_ENCODING = "gzip, deflate, br, zstd"  # what parse.content_coding decodes


def configure(easy: pycurl.Curl, options: CollectorOptions, url: str, *, timeout_ms: int, verify: bool) -> None:
    """Prepare a fresh handle for one GET of `url`. The caller sets callbacks, cookies and addresses."""
    easy.setopt(pycurl.URL, url)
    # Otherwise libcurl 8.23 writes the path's percent-encoding in upper case, which some servers take for another URL
    # than the recorded one.
    easy.setopt(pycurl.REQUEST_TARGET, "/" + url.split("/", 3)[3])
    easy.setopt(pycurl.NOSIGNAL, 1)  # otherwise libcurl's resolver may use SIGALRM
    _keep_to_http(easy, options)
    easy.setopt(pycurl.USERAGENT, options.user_agent)
    easy.setopt(pycurl.HTTPHEADER, [f"Accept: {options.accept}"])
    # libcurl only names the codings and does not decode: its own decoder loses the body on an unknown or broken coding,
    # and reports a gzip body that is cut short as a success.
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
    easy.setopt(pycurl.FOLLOWLOCATION, 0)  # `Collection` follows: every hop is checked and recorded
    easy.setopt(pycurl.PROXY, "")  # "" also switches off the proxies of the environment
    easy.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
    easy.setopt(pycurl.PATH_AS_IS, 1)  # the URL is normalized already, and is requested as it is recorded
    version = pycurl.CURL_HTTP_VERSION_3 if options.allow_http3 else pycurl.CURL_HTTP_VERSION_2TLS
    easy.setopt(pycurl.HTTP_VERSION, version)


def _set_tls(easy: pycurl.Curl, options: CollectorOptions, *, verify: bool) -> None:
    easy.setopt(pycurl.CAINFO, options.ca_file or certifi.where())
    easy.unsetopt(pycurl.CAPATH)
    easy.setopt(pycurl.SSL_VERIFYPEER, 1 if verify else 0)
    easy.setopt(pycurl.SSL_VERIFYHOST, 2 if verify else 0)
    easy.setopt(pycurl.OPT_CERTINFO, 1)
    # A resumed handshake brings no certificate, so CERTINFO would be empty (libcurl 8.23 with OpenSSL).
    easy.setopt(pycurl.SSL_SESSIONID_CACHE, 0)


def name_addresses(easy: pycurl.Curl, host: str, port: int, addresses: tuple[str, ...]) -> None:
    """Give libcurl the addresses of a name, so that it does not look it up. "+" lets the entry expire (RESOLVE)."""
    texts = [f"[{address}]" if ":" in address else address for address in addresses]
    easy.setopt(pycurl.RESOLVE, [f"+{host}:{port}:{','.join(texts)}"])


class LentSocket(socket.socket):
    """A socket for pycurl, which duplicates it. The original is closed, without a warning, when it is collected."""

    def __del__(self) -> None:
        self.close()


def is_own(ip: str, port: int) -> bool:
    """Whether the address is one of this host's now, by the kernel's routing. Sends nothing; takes about 20 µs.

    Connecting a datagram socket only chooses its local address, and for an address of this host that is the address
    itself. For IPv4 this holds for the first address of a network only, so the socket is bound to the address before.
    Binding fails for another host's address; with ip_nonlocal_bind, connecting fails. Any failure, such as a missing
    route, means: not this host's.
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
    """A socket for an address that is allowed; SOCKET_BAD if this host has no sockets of its family."""
    try:
        return LentSocket(address.family, address.socktype, address.protocol)
    except OSError:
        return pycurl.SOCKET_BAD
