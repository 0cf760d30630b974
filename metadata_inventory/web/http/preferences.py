"""The Prefer header (RFC 7240): `wait=N` and `respond-async`. A preference that is not understood is ignored (§2)."""

from __future__ import annotations

from msgspec import Struct

# The longest that a request may wait, in seconds. A longer `wait` counts as this.
MAX_WAIT_S = 30


class WaitPreference(Struct, frozen=True):
    """How long the client prefers to wait, and the `Preference-Applied` header that says so."""

    wait_s: int
    applied: str


def read_wait_preference(prefer: str) -> WaitPreference | None:
    """The preference on waiting; None without one. With both, `wait` counts: `respond-async` may follow a wait."""
    preferences = read_preferences(prefer)
    wait = preferences.get("wait", "")
    if wait.isascii() and wait.isdigit() and len(wait) < 10:
        wait_s = min(int(wait), MAX_WAIT_S)
        return WaitPreference(wait_s, f"wait={wait_s}")
    if "respond-async" in preferences:
        return WaitPreference(0, "respond-async")
    return None


def read_preferences(prefer: str) -> dict[str, str]:
    """Name → value, "" without one; of a repeated preference the first counts (RFC 7240 §2).

    Its time is linear in the length of the header.
    """
    preferences: dict[str, str] = {}
    for preference in prefer.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        preferences.setdefault(name.strip().lower(), value.strip().strip('"'))
    return preferences
