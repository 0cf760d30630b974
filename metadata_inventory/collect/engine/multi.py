"""Drives libcurl's multi interface by `socket_action`: a turn costs what is ready, however many sockets are open.

Source: libcurl-multi(3), "multi_socket". The same selector watches other descriptors (see `interrupts`).
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable

import pycurl

Finished = tuple[pycurl.Curl, int, str]  # the handle, libcurl's error (0 for none) and the text of the error

_EVENTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}


class Multi:
    """One multi handle, its timer and its selector. For use in one thread."""

    def __init__(self, *, max_idle_connections: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._timer_at: float | None = None
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_idle_connections)
        # One transfer a connection at a time, over HTTP/2 too. Of a paused stream libcurl would buffer as much as the
        # window allows, which the body budget does not see, and the end of a connection would end many transfers.
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_NOTHING)

    def close(self) -> None:
        self._multi.close()
        self._selector.close()

    def watch(self, descriptor: int, on_readable: Callable[[], None]) -> None:
        """Let `turn` call `on_readable` whenever the descriptor is readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, on_readable)

    def add(self, easy: pycurl.Curl) -> None:
        self._multi.add_handle(easy)

    def remove(self, easy: pycurl.Curl) -> None:
        """Remove the handle, whether its transfer has ended or not."""
        self._multi.remove_handle(easy)

    def turn(self, wait_s: float) -> list[Finished]:
        """Wait until something is ready, `wait_s` at most, process it, and return the transfers that have ended."""
        if self._timer_at is not None:
            wait_s = min(wait_s, max(0.0, self._timer_at - time.monotonic()))
        for key, mask in self._selector.select(wait_s):
            if key.data is not None:
                key.data()
            else:
                self._multi.socket_action(key.fd, _to_action(mask))
        if self._timer_at is not None and self._timer_at <= time.monotonic():
            self._timer_at = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return self._take_finished()

    def _take_finished(self) -> list[Finished]:
        finished: list[Finished] = []
        left = 1
        while left:
            left, done, failed = self._multi.info_read()
            finished.extend((easy, pycurl.E_OK, "") for easy in done)
            finished.extend(failed)
        return finished

    def _watch_socket(self, event: int, descriptor: int, multi: pycurl.CurlMulti, data: object) -> None:
        known = descriptor in self._selector.get_map()
        if event == pycurl.POLL_REMOVE:
            if known:
                self._selector.unregister(descriptor)
        elif known:
            self._selector.modify(descriptor, _EVENTS[event], None)
        elif event in _EVENTS:
            self._selector.register(descriptor, _EVENTS[event], None)

    def _set_timer(self, timeout_ms: int) -> None:
        self._timer_at = None if timeout_ms < 0 else time.monotonic() + timeout_ms / 1000


def _to_action(mask: int) -> int:
    action = 0
    if mask & selectors.EVENT_READ:
        action |= pycurl.CSELECT_IN
    if mask & selectors.EVENT_WRITE:
        action |= pycurl.CSELECT_OUT
    return action
