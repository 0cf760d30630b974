"""Judges a run: compares the database and the origin's log with the acknowledged answers, and counts what happened."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from msgspec import Struct
from pymongo import MongoClient

from tests.chaos.clients import SERVABLE, Clients
from tests.chaos.killer import STOPS, Kind, Strike
from tests.chaos.origin import Manner, Origin, Overlap, Visit
from tests.chaos.watch import DATABASE, RECORDS, Watch

# After a stopped process goes on, until it has noticed at its next renewal that its leases are not its own any more.
NOTICE_S = 2.0
LEASE_S = 4
# Beyond the lease, until a URL whose collection was broken off is requested again: looking for it, and a busy machine.
RECLAIM_S = 5

Absences = Sequence[tuple[float, float]]  # from when to when, of time.monotonic
Documents = Mapping[str, Mapping[str, Any]]  # by path, without what was captured


class Figures(Struct, frozen=True, kw_only=True):
    """The figures of the run, under the names by which they are printed."""

    seed: str
    duration_s: float
    kills: Mapping[str, int]
    urls: int
    acknowledged: int
    complete: int
    failed: Mapping[str, int]  # by code
    client_requests: int
    unanswered_requests: int
    origin_requests: int
    collections_broken_off: int
    reclaim_median_s: float
    reclaim_longest_s: float
    lost: int
    accepted_twice: int
    overlaps: int
    overlaps_in_stops: int
    reclaims_late: int

    def table(self) -> str:
        rows: list[tuple[str, object]] = [("seed", self.seed)]
        rows += [(f"killed: {kind}", count) for kind, count in self.kills.items()]
        rows += [(f"failed: {code}", count) for code, count in sorted(self.failed.items())]
        shown = {"seed", "kills", "failed"}
        names = [name for name in self.__struct_fields__ if name not in shown]
        rows += [(name.replace("_", " "), getattr(self, name)) for name in names]
        return "\n".join(f"{name:<42} {value}" for name, value in rows) + "\n"


@dataclass(frozen=True)
class Findings:
    """The figures, and a line for each violation."""

    figures: Figures
    lost: Sequence[str]
    twice: Sequence[str]
    overlaps: Sequence[str]
    late: Sequence[str]
    other: Sequence[str]

    @property
    def problems(self) -> list[str]:
        kinds = {
            "lost": self.lost,
            "twice": self.twice,
            "overlap": self.overlaps,
            "late": self.late,
            "other": self.other,
        }
        return [f"{kind}: {line}" for kind, lines in kinds.items() for line in lines]


def read_documents(database_uri: str, urls: Mapping[str, str]) -> Documents:
    paths = {url: path for path, url in urls.items()}
    with MongoClient[dict[str, Any]](database_uri, timeoutMS=10_000) as client:
        found = client[DATABASE][RECORDS].find({}, {"capture": 0, "content": 0})
        return {paths[document["normalized_url"]]: document for document in found}


def owed(documents: Documents) -> list[str]:
    """The paths whose collection is still owed."""
    return [path for path, document in documents.items() if document.get("job")]


def judge(
    clients: Clients,
    origin: Origin,
    documents: Documents,
    strikes: Sequence[Strike],
    watch: Watch,
    *,
    manners: Mapping[str, Manner],
    seed: str,
    duration_s: float,
) -> Findings:
    """To be called when no collection is owed any more, the service still answers and the origin has ended."""
    ledger = clients.ledger
    visits = by_path(origin.visits)
    failed: Counter[str] = Counter()
    lost, other = list(ledger.lost), list(ledger.odd)
    twice = list(dict.fromkeys(ledger.twice))
    for path, known in list(ledger.known.items()):
        document = documents.get(path)
        if document is None:
            lost.append(f"{path}: acknowledged, and there is no document")
            continue
        if document["revision"] < known.revision:
            lost.append(f"{path}: revision {document['revision']} stored, {known.revision} acknowledged")
        if document["status"] not in ("complete", "failed") or document.get("job"):
            lost.append(f"{path}: ends as {document['status']} with the job {document.get('job')}")
        answers = sum(visit.answered for visit in visits[path])
        if document["revision"] > answers:
            twice.append(f"{path}: revision {document['revision']} of {answers} answers")
        status, body = clients.look(path)
        if status in SERVABLE:
            other += check_page(path, body, origin, visits[path], manners[path])
        else:
            failed[body.get("code", str(status))] += 1
        if (status in SERVABLE) != (document["status"] == "complete"):
            other.append(f"{path}: {document['status']} in the database, answered with {status}")
    permitted = [overlap for overlap in origin.overlaps if explained(overlap, strikes)]
    overlaps = [describe(overlap, strikes) for overlap in origin.overlaps if overlap not in permitted]
    reclaims = sorted(find_reclaims(visits, manners, watch), key=lambda reclaim: reclaim.took_s)
    away = find_absences(strikes, watch)
    late = [
        f"{reclaim.path}: requested again after {reclaim.took_s:.1f} s of {limit_s:.1f}; struck:"
        f" {list_strikes(strikes, reclaim.broken_off_at)}"
        for reclaim in reclaims
        if reclaim.took_s > (limit_s := limit_of(reclaim, strikes, away))
    ]
    return Findings(
        figures=Figures(
            seed=seed,
            duration_s=round(duration_s, 1),
            kills=Counter(strike.kind for strike in strikes),
            urls=len(manners),
            acknowledged=len(ledger.known),
            complete=len(ledger.known) - failed.total(),
            failed=failed,
            client_requests=clients.requests,
            unanswered_requests=clients.unanswered,
            origin_requests=len(origin.visits),
            collections_broken_off=len(reclaims),
            reclaim_median_s=round(statistics.median(reclaim.took_s for reclaim in reclaims), 2) if reclaims else 0.0,
            reclaim_longest_s=round(reclaims[-1].took_s, 2) if reclaims else 0.0,
            lost=len(lost),
            accepted_twice=len(twice),
            overlaps=len(overlaps),
            overlaps_in_stops=len(permitted),
            reclaims_late=len(late),
        ),
        lost=lost,
        twice=twice,
        overlaps=overlaps,
        late=late,
        other=other,
    )


def by_path(visits: Iterable[Visit]) -> defaultdict[str, list[Visit]]:
    found: defaultdict[str, list[Visit]] = defaultdict(list)
    for visit in visits:
        found[visit.path].append(visit)
    return found


def check_page(path: str, body: Any, origin: Origin, visits: Sequence[Visit], manner: Manner) -> list[str]:
    """Whether the record equals one of the responses that the origin sent."""
    page, truncated = body["page_source"], body["body"]["truncated"]
    answered = {visit.serial for visit in visits if visit.answered}
    serial = int(page.split(" ", 1)[0])
    if serial not in answered or page != origin.page(path, serial):
        return [f"{path}: its page is not answer {serial} of the origin"]
    if truncated != ("disconnect" if manner is Manner.CUT else None):
        return [f"{path}: a page of manner {manner} is marked as truncated: {truncated}"]
    return []


@dataclass(frozen=True)
class Reclaim:
    """A URL whose collection was broken off, and that was requested again. Instants are of time.monotonic."""

    path: str
    broken_off_at: float
    again_at: float

    @property
    def took_s(self) -> float:
        return self.again_at - self.broken_off_at


def explained(overlap: Overlap, strikes: Sequence[Strike]) -> bool:
    """Whether a stopped process, or a child of one, made one of the two requests until its lease had run out.

    A stop shorter than half a lease cannot explain it: a lease is renewed every quarter. Nor can the absence of the
    database: it is never stopped here, and a worker without its answers cancels collections before their leases run
    out.
    """
    return any(
        strike.kind in STOPS
        and strike.at + LEASE_S / 2 <= overlap.at <= strike.over_at + NOTICE_S
        and any(strike.pid in processes for processes in overlap.processes)
        for strike in strikes
    )


def describe(overlap: Overlap, strikes: Sequence[Strike]) -> str:
    """A line about the violation, with the kills of the seconds before it."""
    return (
        f"{overlap.path}: the other request began {overlap.other_began_at - overlap.at:+.2f} s; processes"
        f" {overlap.processes}; struck: {list_strikes(strikes, overlap.at)}"
    )


def list_strikes(strikes: Sequence[Strike], at: float) -> str:
    """The kills around the instant, each with its time relative to it."""
    near = [strike for strike in strikes if -12 < strike.at - at < 12]
    return ", ".join(f"{strike.at - at:+.2f} s {strike.kind} {strike.pid}" for strike in near)


def find_reclaims(
    visits: Mapping[str, Sequence[Visit]], manners: Mapping[str, Manner], watch: Watch
) -> Iterable[Reclaim]:
    """A silent path is left out: there it is the time limit of the collection that breaks off. So is a visit beside
    which another one began already, and one with which the collection ended as a failure: what follows is another one.
    """
    for path, of_path in visits.items():
        if manners[path] is not Manner.SILENT:
            for visit, following in pairwise(of_path):
                broken_off = not visit.answered and following.began_at >= visit.ended_at
                if broken_off and not watch.settled_between(path, visit.ended_at, following.began_at):
                    yield Reclaim(path, visit.ended_at, following.began_at)


def find_absences(strikes: Sequence[Strike], watch: Watch) -> Absences:
    """The periods without the database or the service, in order and without overlap."""
    found: list[tuple[float, float]] = []
    for strike in strikes:
        if strike.kind in (Kind.DATABASE, Kind.SUPERVISOR):
            back_at = strike.over_at if strike.kind is Kind.SUPERVISOR else watch.answered_after(strike.at)
            left_at = max(strike.at, found[-1][1]) if found else strike.at
            found.append((left_at, max(left_at, back_at)))
    return found


def limit_of(reclaim: Reclaim, strikes: Sequence[Strike], away: Absences) -> float:
    """The longest acceptable time: a lease and a margin, the absences meanwhile, and one more lease for each worker
    that was killed meanwhile, because it may have held the job by then.
    """
    began_at, ended_at = reclaim.broken_off_at, reclaim.again_at
    away_s = sum(max(0.0, min(back_at, ended_at) - max(left_at, began_at)) for left_at, back_at in away)
    holders = {Kind.API, Kind.STOPPED_API, Kind.SUPERVISOR}
    lost = sum(strike.kind in holders and began_at < strike.at < ended_at for strike in strikes)
    return LEASE_S * (1 + lost) + RECLAIM_S + away_s
