"""The coverage-guided fuzzer: `python -m tests.fuzz.guided TARGET DIRECTORY [libFuzzer's flags]`.

It begins with the seeds and writes inputs that reach new code to `DIRECTORY/TARGET`. A finding stops it and is written
there as `crash-…`. `-max_total_time=60` is its time limit in seconds; with `-timeout=5` a slower input is a finding.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["metadata_inventory"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.seeds import SEEDS


def main() -> None:
    name, directory, *flags = sys.argv[1:]
    corpus = Path(directory, name)
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS[name]:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    arguments = [name, "-max_len=4096", "-timeout=5", f"-artifact_prefix={corpus}/", *flags, str(corpus)]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
