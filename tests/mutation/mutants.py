"""The changes, made by Cosmic Ray: one operator, number, condition, decorator or loop is another one."""

from __future__ import annotations

import ast
import difflib
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names


@dataclass(frozen=True)
class Mutant:
    """The change that an operator makes at its `occurrence`th place in a module."""

    module: str
    line: int
    operator: str
    occurrence: int

    def change(self, source: str) -> str | None:
        """The source with the change; None when it is no Python, or differs in annotations or a signature's `*`."""
        changed: str | None = mutate_code(source, get_operator(self.operator)(), self.occurrence)
        if changed is None:
            return None
        try:
            return None if _meaning(changed) == _meaning(source) else changed
        except SyntaxError:  # Cosmic Ray takes the stars of signatures and calls for operators
            return None

    def diff(self, source: str) -> str:
        lines = difflib.unified_diff(source.splitlines(), (self.change(source) or "").splitlines(), n=1, lineterm="")
        return "\n".join(f"    {line}" for line in list(lines)[3:])


def find(root: Path, modules: Iterable[str], seed: str) -> list[Mutant]:
    """Every mutant of the modules in a random order; the second of a line comes after the first of every line."""
    mutants = [mutant for module in modules for mutant in _mutants_of(module, (root / module).read_text())]
    random.Random(seed).shuffle(mutants)
    seen: Counter[tuple[str, int]] = Counter()
    ranks = []
    for mutant in mutants:
        ranks.append(seen[mutant.module, mutant.line])
        seen[mutant.module, mutant.line] += 1
    return [mutant for _, mutant in sorted(zip(ranks, mutants, strict=True), key=lambda pair: pair[0])]


def _mutants_of(module: str, source: str) -> Iterable[Mutant]:
    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        operator = get_operator(name)
        if name == "core/NoOp" or operator.arguments():
            continue
        positions = (start for node in nodes for start, _ in operator().mutation_positions(node))
        for occurrence, (line, _) in enumerate(positions):
            yield Mutant(module, line, name, occurrence)


class _Meaning(ast.NodeTransformer):
    """Leaves out what no run depends on: annotations, which all modules postpone, and how arguments may be passed."""

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults = [*node.defaults, *(default for default in node.kw_defaults if default is not None)]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


def _meaning(source: str) -> str:
    return ast.dump(_Meaning().visit(ast.parse(source)))
