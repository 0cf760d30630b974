"""Which modules are mutated, and in which order their tests run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.mutation.selection import changed_paths, files_to_copy, modules_in, stages_for
from tests.support.running import ROOT


def write(root: Path, *paths: str, text: str = "") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def branch(tmp_path: Path) -> Path:
    """A repository with a commit on `main` and one on the branch that is checked out."""
    write(tmp_path, "metadata_inventory/a.py", "metadata_inventory/b.py", "metadata_inventory/old.py", "README.md")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "one")
    git(tmp_path, "switch", "-q", "-c", "branch")
    write(tmp_path, "metadata_inventory/b.py", "README.md", text="changed = 1\n")
    git(tmp_path, "rm", "-q", "metadata_inventory/old.py")
    git(tmp_path, "commit", "-q", "-a", "-m", "two")
    return tmp_path


def test_what_mirrors_or_imports_a_module_runs_first_and_the_rest_of_its_folder_after_it(tmp_path: Path) -> None:
    write(tmp_path, "tests/web/api/test_body.py", "tests/web/api/test_body_budget.py", "tests/web/api/test_health.py")
    write(tmp_path, "tests/web/api/deep/test_more.py", "tests/web/test_other.py", "tests/web/api/client.py")
    write(tmp_path, "tests/test_a.py", text="from metadata_inventory.web.api.body import Body\n")
    write(tmp_path, "tests/test_b.py", text="    from metadata_inventory.web.api import health, body\n")
    write(tmp_path, "tests/test_c.py", text="from metadata_inventory.web.api.body_length import Length\n")
    mirrors = ["tests/web/api/test_body.py", "tests/web/api/test_body_budget.py"]
    assert stages_for("metadata_inventory/web/api/body.py", tmp_path) == [
        [*mirrors, "tests/test_a.py", "tests/test_b.py"],
        ["tests/web/api/deep/test_more.py", "tests/web/api/test_health.py"],
    ]


def test_module_without_a_folder_does_not_run_every_test(tmp_path: Path) -> None:
    write(tmp_path, "tests/test_tasks.py", "tests/test_docs.py", "tests/web/test_errors.py")
    assert stages_for("metadata_inventory/tasks.py", tmp_path) == [["tests/test_tasks.py"], ["tests/test_docs.py"]]


def test_use_cases_are_shown_to_the_api_s_tests_as_well(tmp_path: Path) -> None:
    write(tmp_path, "tests/usecases/test_queue.py", "tests/web/api/test_queue.py", "tests/web/http/test_errors.py")
    stages = stages_for("metadata_inventory/usecases/queue.py", tmp_path)
    assert stages == [["tests/usecases/test_queue.py"], ["tests/web/api/test_queue.py"]]


@pytest.mark.parametrize("module", modules_in(ROOT, ["metadata_inventory"]))
def test_every_module_has_tests_that_would_notice(module: str) -> None:
    assert stages_for(module, ROOT)


def test_modules_are_the_package_s_files_with_code(tmp_path: Path) -> None:
    write(tmp_path, "metadata_inventory/web/__init__.py", "metadata_inventory/web/app.py", "metadata_inventory/a.txt")
    write(tmp_path, "metadata_inventory/errors.py", "tests/test_a.py")
    paths = ["metadata_inventory/web", "metadata_inventory/errors.py", "metadata_inventory/errors.py", "tests"]
    assert modules_in(tmp_path, paths) == ["metadata_inventory/errors.py", "metadata_inventory/web/app.py"]


def test_changed_is_what_the_branch_and_the_working_tree_changed(branch: Path) -> None:
    write(branch, "metadata_inventory/a.py", text="uncommitted = 1\n")
    assert changed_paths(branch) == ["metadata_inventory/a.py", "metadata_inventory/b.py"]
    git(branch, "checkout", "-q", "metadata_inventory/a.py")
    assert changed_paths(branch) == ["metadata_inventory/b.py"]


def test_on_main_changed_is_what_the_last_commit_changed(branch: Path) -> None:
    git(branch, "branch", "-q", "-f", "main", "branch")
    git(branch, "switch", "-q", "main")
    assert changed_paths(branch) == ["metadata_inventory/b.py"]


def test_copied_is_what_git_knows_or_would_add_and_is_there(branch: Path) -> None:
    write(branch, "new.py", "ignored.log")
    write(branch, ".gitignore", text="*.log\n")
    (branch / "README.md").unlink()
    assert sorted(files_to_copy(branch)) == [
        ".gitignore",
        "metadata_inventory/a.py",
        "metadata_inventory/b.py",
        "new.py",
    ]
