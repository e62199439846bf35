"""The shape of the source at a git revision, as a Markdown table: what ARCHITECTURE.md shows of before and after.

    python benchmarks/structure.py 4ccf395 HEAD

Files are read by `git show`, nothing is checked out. Lines are all lines of the .py files under src/ and tests/
(filament's included). A function's lines are those from `def` to its end; of its arguments `self`, `cls` and those
of lambdas do not count. A pair: two folders or modules directly in the package that import each other somewhere.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "src/lightbulb/"
TESTS = ("tests/", "filament/tests/")
SHORT = 20  # lines of a function that is read at a glance


@dataclass(frozen=True)
class Shape:
    """What is told of one revision. lengths: lines by file of the package; functions: lines of each."""

    lengths: dict[str, int]
    functions: list[int]
    annotated: tuple[int, int]  # arguments that are, of all
    test_lines: int
    pairs: list[tuple[str, str]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", nargs="*", default=["HEAD"])
    revisions = parser.parse_args().revision
    shapes = [shape(files(revision)) for revision in revisions]
    print(table([names(revision) for revision in revisions], shapes))
    for revision, one in zip(revisions, shapes, strict=True):
        if one.pairs:
            print(
                f"{revision}: {', '.join(' and '.join(pair) for pair in one.pairs)} import each other", file=sys.stderr
            )
    return 0


def git(*words: str, given: bytes = b"") -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, input=given, capture_output=True, check=True).stdout


def names(revision: str) -> str:
    """Its short hash, behind the name where that is another."""
    short = git("rev-parse", "--short", revision).decode().strip()
    return short if revision.startswith(short) or short.startswith(revision) else f"{revision} ({short})"


def files(revision: str) -> dict[str, str]:
    """Path -> text of every Python file of the package and of the tests."""
    listed = git("ls-tree", "-r", "--name-only", revision, "--", PACKAGE, *TESTS).decode().splitlines()
    return {path: git("show", f"{revision}:{path}").decode() for path in listed if path.endswith(".py")}


def shape(sources: dict[str, str]) -> Shape:
    """Of path -> text. Raises SyntaxError for a file of the package that is none of Python."""
    trees = {path: ast.parse(text) for path, text in sources.items() if path.startswith(PACKAGE)}
    found = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    told = [argument.annotation is not None for node in found for argument in arguments(node)]
    return Shape(
        lengths={path: len(sources[path].splitlines()) for path in trees},
        functions=[(node.end_lineno or node.lineno) - node.lineno + 1 for node in found],
        annotated=(sum(told), len(told)),
        test_lines=sum(len(text.splitlines()) for path, text in sources.items() if path.startswith(TESTS)),
        pairs=mutual(trees),
    )


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    given = node.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return [argument for n, argument in enumerate(every) if n or argument.arg not in ("self", "cls")]


def mutual(trees: dict[str, ast.Module]) -> list[tuple[str, str]]:
    """Parts of the package (folders and modules directly in it) that import each other."""
    parts = {part_of(path) for path in trees}
    edges = {(part_of(path), to) for path, tree in trees.items() for to in imported(tree) if to in parts}
    return [(a, b) for a, b in combinations(sorted(parts), 2) if {(a, b), (b, a)} <= edges]


def part_of(path: str) -> str:
    return path.removeprefix(PACKAGE).split("/")[0].removesuffix(".py")


def imported(tree: ast.Module) -> Iterator[str]:
    """The parts of the package that a file imports, wherever in it, for type checkers too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("lightbulb."))


def table(revisions: list[str], shapes: list[Shape]) -> str:
    rows = [["", *revisions], ["---", *["--:"] * len(revisions)]]
    columns = [cells(one) for one in shapes]
    rows += [[name, *(column[name] for column in columns)] for name in columns[0]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cells(one: Shape) -> dict[str, str]:
    lines, longest = sum(one.lengths.values()), max(one.lengths, key=lambda path: one.lengths[path])
    short = sum(length <= SHORT for length in one.functions)
    typed, every = one.annotated
    return {
        "files": f"{len(one.lengths)}",
        "lines": f"{lines:,}",
        "median file, lines": f"{statistics.median(one.lengths.values()):.0f}",
        "longest file, lines": f"{one.lengths[longest]} (`{longest.removeprefix(PACKAGE)}`)",
        f"functions within {SHORT} lines": f"{short / len(one.functions):.1%} of {len(one.functions):,}",
        "longest function, lines": f"{max(one.functions)}",
        "arguments annotated": f"{typed / max(every, 1):.1%}",
        "test lines to source lines": f"{one.test_lines / lines:.2f}",
        "pairs that import each other": f"{len(one.pairs)}",
    }


if __name__ == "__main__":
    raise SystemExit(main())
