"""The house is as its pages say: folders, words and names are read from the disk and held against the documentation."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from metadata_inventory.service.settings import Settings

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "metadata_inventory"
DOCS = ROOT / "docs"
GLOSSARY = DOCS / "glossary.md"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Words that the glossary's terms have replaced. A session is reserved for the liveness of a worker; a session cookie is
# RFC 6265bis's.
RETIRED = (
    r"errands?",
    r"carriers?",
    r"quarantin\w+",
    r"unsettled",
    r"(un)?tether\w*",
    r"hasten\w*",
    r"overt(ake|aking|aken|aker|ook)s?",
    r"pump(s|ed|ing)?",
    r"sessions?(?! cookie)",
)


def docstring(module: Path) -> str:
    return ast.get_docstring(ast.parse(module.read_text())) or ""


# The tree of docs/design.md


def tree() -> dict[str, str]:
    """What the page lists: path below the package, a folder's with a slash at its end → description."""
    block = (DOCS / "design.md").read_text().split("    metadata_inventory/\n")[1].split("\n\n")[0]
    listed: dict[str, str] = {}
    above: list[str] = []
    for line in block.splitlines():
        match = re.fullmatch(r"(      (?:  )*)([\w.]+/?) +(.+)", line)
        assert match is not None, line
        indent, name, description = match.groups()
        above = [*above[: len(indent) // 2 - 3], name]
        path = "".join(above)
        assert path not in listed, path
        listed[path] = description
    return listed


def folders() -> list[str]:
    return sorted(f"{init.parent.relative_to(PACKAGE)}/" for init in PACKAGE.rglob("*/__init__.py"))


def test_design_page_lists_the_folders_and_modules_that_are_there() -> None:
    beside_them = {module.name for module in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert set(tree()) == beside_them.union(folders())


def test_every_folder_with_code_is_a_package() -> None:
    assert {module.parent for module in MODULES} == {init.parent for init in PACKAGE.rglob("__init__.py")}


@pytest.mark.parametrize("folder", folders())
def test_design_page_describes_a_folder_as_the_folder_describes_itself(folder: str) -> None:
    assert docstring(PACKAGE / folder / "__init__.py").splitlines()[0] == tree()[folder]


def test_design_page_lists_the_layers_in_their_order() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    order = [name for layer in layers for name in layer.split(" | ")]
    listed = [re.sub(r"/$|\.py$", "", path) for path in tree() if path.count("/") - path.endswith("/") == 0]
    assert listed == order


# The words


def terms() -> list[str]:
    return re.findall(r"^\| ([^|]+?) \| (?!meaning)[^-]", GLOSSARY.read_text(), re.MULTILINE)


def test_glossary_is_in_the_order_of_the_alphabet() -> None:
    assert len(terms()) >= 50
    assert terms() == sorted(terms(), key=str.lower)


@pytest.mark.parametrize("term", terms())
def test_glossary_term_is_used_in_the_documentation_or_a_module_docstring(term: str) -> None:
    pages = [page.read_text() for page in DOCS.rglob("*.md") if page != GLOSSARY]
    spelled = r"[\s-]".join(re.escape(word) for word in re.split(r"[\s-]", term.removesuffix("y").removesuffix("e")))
    pattern = re.compile(rf"\b{spelled}(y|ies|e|es|ed|ing|s)?\b", re.IGNORECASE)
    assert any(pattern.search(text) for text in (*pages, *map(docstring, MODULES)))


def retired(text: str) -> list[str]:
    return [found[0] for word in RETIRED for found in re.finditer(rf"\b{word}\b", text, re.IGNORECASE)]


def pages() -> list[Path]:
    manual = [page for page in DOCS.rglob("*.md") if page != GLOSSARY]
    return sorted([*ROOT.glob("*.md"), *manual, *(ROOT / "conf").glob("*.toml")])


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_page_uses_no_retired_word(page: Path) -> None:
    assert retired(page.read_text()) == []


def test_glossary_uses_no_retired_word_but_to_reserve_it() -> None:
    text = GLOSSARY.read_text()
    assert retired(text.split("\n*Session* ")[0]) == []


def names(module: Path) -> Iterator[str]:
    """What the module defines: its own name, and those of its classes, functions, parameters, variables and fields."""
    yield module.stem
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.alias(asname=str(name)):
                yield name


def spelled_out(name: str) -> str:
    """`HostSlots` and `host_slots` as two words."""
    return re.sub(r"_|(?<=[a-z0-9])(?=[A-Z])", " ", name)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_module_uses_no_retired_word(module: Path) -> None:
    assert retired("\n".join([docstring(module), *map(spelled_out, names(module))])) == []


def test_no_two_public_classes_have_one_name() -> None:
    modules_of: dict[str, list[str]] = defaultdict(list)
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules_of[node.name].append(str(module.relative_to(PACKAGE)))
    assert {name: modules for name, modules in modules_of.items() if len(modules) > 1} == {}


# Decisions


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("*.md")), ids=lambda page: page.name[:4])
def test_decision_has_its_number_a_date_and_a_status(page: Path) -> None:
    title, _, status, *_ = page.read_text().splitlines()
    assert title.startswith(f"# {int(page.name[:4])}. ")
    assert re.fullmatch(
        r"Date: \d{4}-\d\d-\d\d\. Status: (accepted|superseded by \[\d+\]\(\d{4}-[\w-]+\.md\))\.", status
    )


# The seams


def test_instants_come_from_the_one_clock() -> None:
    asking = [module for module in MODULES if re.search(r"\bdatetime\.(now|utcnow|today)\b", module.read_text())]
    assert asking == [PACKAGE / "clock.py"]


def test_outcomes_are_told_apart_by_match() -> None:
    """`match` with `assert_never` lets the type checker find the places that a third kind of outcome would need."""
    pattern = re.compile(r"isinstance\([^()]+, (Capture|Failure)\)")
    assert [module for module in MODULES if pattern.search(module.read_text())] == []


@pytest.mark.parametrize("name", ["declaration.py", "setting_sources.py"])
def test_no_setting_is_named_where_settings_are_read(name: str) -> None:
    nodes = ast.walk(ast.parse((PACKAGE / "service" / name).read_text()))
    words = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert words.isdisjoint(Settings.__struct_fields__)
