"""Which modules are changed, and which tests have to notice a change of a module. Reads files and git, runs no test."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

PACKAGE = "metadata_inventory"

# Folders whose behaviour is tested through another one's tests as well.
SHOWN_BY = {
    "tests/usecases": "tests/web/api",
    "tests/web/http": "tests/web/api",
    "tests/web/api": "tests/web/http",
}


def modules_in(root: Path, paths: Sequence[str]) -> list[str]:
    """The package's modules at these paths, files or folders, relative to `root`; an empty `__init__` is none."""
    found = {file for path in paths for file in _python_files(root / path)}
    return sorted(str(file.relative_to(root)) for file in found if file.is_relative_to(root / PACKAGE))


def changed_paths(root: Path) -> list[str]:
    """The modules that differ from where this branch left `main`, uncommitted ones too.

    On `main` itself those that differ from the commit before.
    """
    main = next((name for name in ("main", "origin/main") if _git(root, "rev-parse", "-q", "--verify", name)), "HEAD~")
    base, head = _git(root, "merge-base", main, "HEAD"), _git(root, "rev-parse", "HEAD")
    compared = ["HEAD~"] if base == head else base
    paths = _git(root, "diff", "--name-only", "--diff-filter=d", *compared, "--", PACKAGE)
    return [path for path in paths if path.endswith(".py")]


def files_to_copy(root: Path) -> list[str]:
    """Every file of the checkout that git knows or would add."""
    listed = _git(root, "ls-files", "--cached", "--others", "--exclude-standard")
    return [path for path in listed if (root / path).is_file()]


def stages_for(module: str, root: Path) -> list[list[str]]:
    """The tests for a module, in stages: a change that one stage has noticed is not shown to the next.

    First the files that mirror the module (`tests/<same folder>/test_<name>*.py`) or import it; then the others of the
    mirrored folder, and of the folders in it; last what `SHOWN_BY` adds.
    """
    folder = Path("tests", *Path(module).parts[1:-1])
    name = Path(module).stem
    mirrors = _relative(root, (root / folder).glob(f"test_{name}*.py"))
    imports = re.compile(
        rf"^\s*(from {_dotted(module)} import|import {_dotted(module)}\b|{_from_package(module)})", re.M
    )
    importing = _relative(
        root, (file for file in (root / "tests").rglob("test_*.py") if imports.search(file.read_text()))
    )
    first = [*mirrors, *(path for path in importing if path not in mirrors)]
    pattern = "test_*.py" if folder == Path("tests") else "**/test_*.py"
    others = [path for path in _relative(root, (root / folder).glob(pattern)) if path not in first]
    shown = _relative(root, (root / SHOWN_BY[str(folder)]).rglob("test_*.py")) if str(folder) in SHOWN_BY else []
    return [stage for stage in (first, others, shown) if stage]


def _dotted(module: str) -> str:
    return re.escape(module.removesuffix(".py").removesuffix("/__init__").replace("/", "."))


def _from_package(module: str) -> str:
    package, _, name = _dotted(module).rpartition(r"\.")
    return rf"from {package} import (.*\W)?{name}\b"


def _python_files(path: Path) -> Iterable[Path]:
    files = [path] if path.is_file() else path.rglob("*.py")
    return (file for file in files if file.name != "__init__.py" and file.suffix == ".py")


def _relative(root: Path, files: Iterable[Path]) -> list[str]:
    return sorted(str(file.relative_to(root)) for file in files)


def _git(root: Path, *arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=root, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.splitlines()
