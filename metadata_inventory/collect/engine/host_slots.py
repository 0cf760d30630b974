"""Owns the slots of each host in one lane process: which hops have one, and which wait for one.

The parent bounds what it begins of each host, but it cannot know where redirects lead. So every hop, the first one too,
needs a slot of its host. A collection that waits for a slot holds none of another host, so there is no deadlock. First
hops and redirected hops get free slots in turn, and neither kind keeps the other out. The parent begins no more first
hops than there are slots, so they wait little, however many redirects lead to their host. Every operation is O(1).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

_Line = OrderedDict[str, None]  # tokens in the order they came; removing the first again and again is slow in a dict


@dataclass(slots=True)
class _Host:
    taken: int = 0
    first_hops: _Line = field(default_factory=OrderedDict)
    redirected: _Line = field(default_factory=OrderedDict)
    first_hops_turn: bool = True

    def take_next(self) -> str | None:
        """Remove and return the token that gets the next slot; None if nobody waits."""
        line, other = self.first_hops, self.redirected
        if not self.first_hops_turn:
            line, other = other, line
        if not line:
            line = other
        if not line:
            return None
        self.first_hops_turn = line is self.redirected
        return line.popitem(last=False)[0]


class HostSlots:
    """`at_once` slots of each host. A token has one slot, or waits for one, or neither."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._hosts: dict[str, _Host] = {}  # those with a taken slot
        self._holding: dict[str, str] = {}  # token → host
        self._waiting: dict[str, str] = {}  # token → host
        self._admitted: _Line = OrderedDict()  # since the last `take`

    def enter(self, token: str, host: str, *, redirected: bool) -> bool:
        """Whether the token has a slot of the host now. If not, it waits, and `take` returns it when it has one."""
        if self._holding.get(token) == host:
            return True
        slots = self._hosts.setdefault(host, _Host())
        if slots.taken < self._at_once:  # then nobody waits
            slots.taken += 1
            self._holding[token] = host
            return True
        (slots.redirected if redirected else slots.first_hops)[token] = None
        self._waiting[token] = host
        return False

    def take(self) -> str | None:
        """A token that has got a slot after waiting, each one once; None if there is no other."""
        return self._admitted.popitem(last=False)[0] if self._admitted else None

    def leave(self, token: str, unless: str | None = None) -> None:
        """Give up the token's wait, or its slot unless that is one of the host `unless`. Nothing if it has neither."""
        waited_at = self._waiting.pop(token, None)
        if waited_at is not None:
            slots = self._hosts[waited_at]
            slots.first_hops.pop(token, None)
            slots.redirected.pop(token, None)
            return
        host = self._holding.get(token)
        if host is None or host == unless:
            return
        del self._holding[token]
        self._admitted.pop(token, None)
        self._pass_on(host)

    def _pass_on(self, host: str) -> None:
        slots = self._hosts[host]
        token = slots.take_next()
        if token is not None:
            del self._waiting[token]
            self._holding[token] = host
            self._admitted[token] = None
            return
        slots.taken -= 1
        if not slots.taken:
            del self._hosts[host]
