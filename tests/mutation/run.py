"""Change the source in one place, run the tests that should notice, and so on until the time is over.

`python -m tests.mutation.run [PATHS]` works in copies of the checkout, one for each of `MUTATION_JOBS`, for
`MUTATION_MINUTES`. `MUTATION_SEED`, which is printed, decides which mutants come first. Without paths the modules that
differ from `main` are changed. The files of a copy are changed on disk, because most code runs in processes whose
environment the service cleans: a switch by a variable, as in mutmut 3, does not reach them.
"""

from __future__ import annotations

import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from tests.mutation.mutants import Mutant, find
from tests.mutation.selection import changed_paths, files_to_copy, modules_in, stages_for

ROOT = Path(__file__).parents[2]
# Tests that take longer than this without a change are left out, as are those that do not pass.
LONGEST_S = float(os.environ.get("MUTATION_TESTS_S", "600"))
# A mutant's tests have this many times what they take without it; who is slower hangs, and is noticed by that.
SLOWER, AT_LEAST_S = 3.0, 30.0


class Verdict(StrEnum):
    KILLED = "killed"
    HANGS = "killed by time"
    SURVIVED = "survived"
    SAME = "no change"
    UNTESTED = "untested"  # there are no tests, or all were left out


class Ended(Exception):
    """The run was interrupted."""


class Bench:
    """A copy of the checkout in which tests run."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "checkout"
        self._scratch = directory / "scratch"
        self._running: subprocess.Popen[bytes] | None = None
        self._ended = False
        for path in files_to_copy(ROOT):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, self.root / path)

    def passes(self, tests: Sequence[str], limit_s: float) -> bool | None:
        """Whether the tests pass; None when they take longer than `limit_s`. Raises Ended after `end`."""
        if self._ended:
            raise Ended
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", f"--basetemp={self._scratch}"]
        with subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=self.root,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as self._running:
            try:
                return self._running.wait(limit_s) in (0, 5)  # 5: no test was selected
            except subprocess.TimeoutExpired:
                return None
            finally:
                self._kill()
                if self._ended:
                    raise Ended

    def end(self) -> None:
        """End the tests that run, and run no further ones."""
        self._ended = True
        self._kill()

    def _kill(self) -> None:
        """The process group: the tests, and what they have left running."""
        if self._running is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)


class Trial:
    """Shows mutants to their tests."""

    def __init__(self, benches: Sequence[Bench]) -> None:
        self.verdicts: dict[Mutant, Verdict] = {}
        self._benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()
        for bench in benches:
            self._benches.put(bench)
        self._known: dict[tuple[str, ...], float | None] = {}
        self._locks: defaultdict[tuple[str, ...], threading.Lock] = defaultdict(threading.Lock)

    def judge(self, mutant: Mutant, deadline: float) -> None:
        if time.monotonic() > deadline:
            return
        bench = self._benches.get()
        try:
            verdict = self.verdicts[mutant] = self._judge(mutant, bench)
        finally:
            self._benches.put(bench)
        if verdict is not Verdict.SAME:
            print(f"{verdict:>14}  {mutant.module}:{mutant.line}  {mutant.operator}", flush=True)

    def _judge(self, mutant: Mutant, bench: Bench) -> Verdict:
        file = bench.root / mutant.module
        source = file.read_text()
        changed = mutant.change(source)
        if changed is None:
            return Verdict.SAME
        verdict = Verdict.UNTESTED
        for tests in stages_for(mutant.module, bench.root):
            took_s = self._takes(tests, bench)
            if took_s is None:
                continue
            file.write_text(changed)
            try:
                passed = bench.passes(tests, max(AT_LEAST_S, SLOWER * took_s))
            finally:
                file.write_text(source)
            if not passed:
                return Verdict.HANGS if passed is None else Verdict.KILLED
            verdict = Verdict.SURVIVED
        return verdict

    def _takes(self, tests: Sequence[str], bench: Bench) -> float | None:
        """Seconds that the tests take without a change; None when they do not pass."""
        key = tuple(tests)
        with self._locks[key]:
            if key not in self._known:
                began = time.monotonic()
                passed = bench.passes(tests, LONGEST_S)
                self._known[key] = time.monotonic() - began if passed else None
                if not passed:
                    print(f"left out, for without a change they fail or take too long: {' '.join(tests)}", flush=True)
            return self._known[key]


def report(verdicts: dict[Mutant, Verdict]) -> None:
    for mutant, verdict in sorted(verdicts.items(), key=lambda item: (item[0].module, item[0].line)):
        if verdict is Verdict.SURVIVED:
            print(f"\nsurvived: {mutant.module}:{mutant.line}\n{mutant.diff((ROOT / mutant.module).read_text())}")
    folders: defaultdict[str, Counter[Verdict]] = defaultdict(Counter)
    for mutant, verdict in verdicts.items():
        folders[str(Path(mutant.module).parent)][verdict] += 1
    print(f"\n{'folder':40} {'killed':>8} {'survived':>8} {'tried':>8} {'untested':>8}")
    for folder, counts in sorted(folders.items()):
        killed, survived = counts[Verdict.KILLED] + counts[Verdict.HANGS], counts[Verdict.SURVIVED]
        print(f"{folder:40} {killed:8} {survived:8} {killed + survived:8} {counts[Verdict.UNTESTED]:8}")


def main(paths: Sequence[str]) -> None:
    minutes = float(os.environ.get("MUTATION_MINUTES", "30"))
    jobs = int(os.environ.get("MUTATION_JOBS", "2"))
    seed = os.environ.get("MUTATION_SEED") or secrets.token_hex(4)
    deadline = time.monotonic() + 60 * minutes
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    modules = modules_in(ROOT, paths or changed_paths(ROOT))
    if not modules:
        sys.exit(f"no module of the package differs from main, or lies at {' '.join(paths) or 'no path'}: name some")
    mutants = find(ROOT, modules, seed)
    print(f"MUTATION_SEED={seed}: {len(mutants)} mutants of {len(modules)} modules, {minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        benches = [Bench(Path(directory, str(number))) for number in range(jobs)]
        trial = Trial(benches)
        with ThreadPoolExecutor(jobs) as pool:
            try:
                for future in [pool.submit(trial.judge, mutant, deadline) for mutant in mutants]:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for bench in benches:
                    bench.end()
                raise
    report(trial.verdicts)


if __name__ == "__main__":
    main(sys.argv[1:])
