"""Which of one lane's transfers are under way at each host, and which wait there until one of them ends.

The parent bounds what it begins of a host and cannot know where redirects lead, so every hop, the first one too, has a
place at its host here. Those that wait for one hold none elsewhere, so nobody waits for one another. First hops and
redirected ones are let in by turns: the parent has no more of the first than there are places, so they wait little
however many redirects lead to their host, and neither kind keeps the other out. Everything is O(1).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

_Line = OrderedDict[str, None]  # tokens as they came; a plain dict is slow to lose its first again and again


@dataclass(slots=True)
class _Host:
    taken: int = 0
    first_hops: _Line = field(default_factory=OrderedDict)
    redirected: _Line = field(default_factory=OrderedDict)
    turn_of_first: bool = True

    def next(self) -> str | None:
        """Take out whoever is let in next."""
        line, other = self.first_hops, self.redirected
        if not self.turn_of_first:
            line, other = other, line
        if not line:
            line = other
        if not line:
            return None
        self.turn_of_first = line is self.redirected
        return line.popitem(last=False)[0]


class HostSlots:
    """The places of one lane, `at_once` at each host. A token has one place, or waits for one, or neither."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._hosts: dict[str, _Host] = {}  # where anything is under way
        self._holding: dict[str, str] = {}  # token → host
        self._waiting: dict[str, str] = {}
        self._admitted: _Line = OrderedDict()  # since the last `take`

    def enter(self, token: str, host: str, *, redirected: bool) -> bool:
        """Whether the token has a place at the host now; if not, it waits for one, and `take` will tell."""
        if self._holding.get(token) == host:
            return True
        at = self._hosts.setdefault(host, _Host())
        if at.taken < self._at_once:  # nobody waits
            at.taken += 1
            self._holding[token] = host
            return True
        (at.redirected if redirected else at.first_hops)[token] = None
        self._waiting[token] = host
        return False

    def take(self) -> str | None:
        """One who waited and has been let in since; None when there is no other."""
        return self._admitted.popitem(last=False)[0] if self._admitted else None

    def leave(self, token: str, unless: str | None = None) -> None:
        """Give up the place, except one at the host `unless`, or the wait for one. Nothing when there is neither."""
        waited_at = self._waiting.pop(token, None)
        if waited_at is not None:
            at = self._hosts[waited_at]
            at.first_hops.pop(token, None)
            at.redirected.pop(token, None)
            return
        host = self._holding.get(token)
        if host is None or host == unless:
            return
        del self._holding[token]
        self._admitted.pop(token, None)
        self._pass_on(host)

    def _pass_on(self, host: str) -> None:
        at = self._hosts[host]
        heir = at.next()
        if heir is not None:
            del self._waiting[heir]
            self._holding[heir] = host
            self._admitted[heir] = None
            return
        at.taken -= 1
        if not at.taken:
            del self._hosts[host]
