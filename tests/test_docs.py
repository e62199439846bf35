"""What the documentation says about the repository is so: the tests, modules and files it names exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "STYLE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/guide.md",
    "docs/decisions.md",
    "docs/lab-notes.md",
    "docs/benchmarks.md",
    "examples/README.md",
)
NAMED_TEST = re.compile(r"`((?:tests|src)/[\w/]+\.py)::(\w+)`")


@cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def invariants() -> list[str]:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Invariants")[2]
    return re.findall(r"^\d+\. .*(?:\n   .*)*", text, re.MULTILINE)


def test_every_invariant_names_tests_that_exist() -> None:
    found = invariants()
    assert [int(i.partition(".")[0]) for i in found] == list(range(1, len(found) + 1)) and len(found) > 10
    for invariant in found:
        named = NAMED_TEST.findall(invariant)
        assert named, f"names no test: {invariant}"
        for file, function in named:
            assert (ROOT / file).exists(), f"no {file}: {invariant}"
            assert function in functions(ROOT / file), f"no {function} in {file}: {invariant}"


def test_the_map_names_every_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "lightbulb"
    for module in package.rglob("*.py"):
        if module.name == "__init__.py":
            continue
        folder = module.relative_to(package).parent.parts
        row = next((line for line in text.splitlines() if line.startswith(f"| `{folder[0]}/`")), "") if folder else text
        named = f"{folder[-1]}/" if len(folder) > 1 else module.stem
        assert re.search(rf"`{re.escape(named)}(\.py)?`", row), f"{module.relative_to(ROOT)} is not on the map"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / page).parent.joinpath(link).exists(), f"{page} links to {link}"


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:benchmarks|docs|examples|tests)/[\w/]+\.\w+", text):
        if not name.startswith("docs/runs") and f"../{name}" not in text:
            assert (ROOT / name).exists(), f"{page} names {name}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_use_verbs_and_options_that_exist(page: str) -> None:
    from lightbulb.cli import VERBS
    from lightbulb.cli.options import options_of

    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks = "\n".join(fenced + re.findall(r"^    .*", text, re.MULTILINE))
    for verb, rest in re.findall(r"^ *lightbulb ([a-z]+) (.*)$", blocks, re.MULTILINE):
        assert verb in VERBS, f"{page}: there is no verb {verb}"
        options = {name.replace("_", "-") for name in options_of(VERBS[verb])}
        assert set(re.findall(r"--([a-z-]+)", rest)) <= options, f"{page}: lightbulb {verb} {rest}"


def test_the_picture_is_that_of_the_table(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/picture.py", "--out", tmp_path / "drawn.svg"]
    drawn = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert drawn.returncode == 0, drawn.stderr
    same = (tmp_path / "drawn.svg").read_bytes() == (ROOT / "docs" / "banking77.svg").read_bytes()
    assert same, "docs/benchmarks.md has another table: python benchmarks/picture.py"


def test_the_picture_holds_every_row_as_it_stands() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from picture import SECONDS, row

    cells = "0.905 [0.894, 0.914] | 5.12\N{NO-BREAK SPACE}MB | 1,900 µs [1,800, 2,100] | 6 mJ |"
    one = row(f"| **student, 1 layer, q4_0** | {cells}")
    assert (one.name, one.score, one.handed_out) == ("student, 1 layer, q4_0", "0.905 [0.894, 0.914]", True)
    assert one.seconds == pytest.approx((1.9e-3, 1.8e-3, 2.1e-3)) and SECONDS["ms"] == 1e-3
    with pytest.raises(ValueError, match="no CPU time"):
        row("| teacher | 0.9 [0.8, 1.0] | 5 MB | not measured | 6 mJ |")


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        named = re.findall(r"\bmake ([a-z]+)\b(?=\s*(?:`|#|$))", text, re.MULTILINE)
        assert set(named) <= targets, f"{page}: {set(named) - targets}"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements: Iterable[str]) -> set[str]:
    """The distributions of requirements such as "scipy>=1.15"."""
    return {normal(re.split(r"[^\w.-]", wanted)[0]) for wanted in requirements}


def imported(folder: Path) -> set[str]:
    """Names of the distributions that files under `folder` import."""
    from importlib.metadata import packages_distributions

    known, found = packages_distributions(), set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    ours = {*sys.stdlib_module_names, "lightbulb", "lightbulb_filament"}
    return {normal(known.get(name, [name])[0]) for name in found - ours}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = [wanted for extra in project["optional-dependencies"].values() for wanted in extra]
    always, some = named(project["dependencies"]), named(optional)
    used = imported(ROOT / "src")
    assert not always - used, f"declared, imported nowhere: {always - used}"
    assert not used - always - some, f"imported, not declared: {used - always - some}"


def test_the_pins_hold_every_dependency() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    missing = named(wanted) - named(line for line in lines if "==" in line)
    assert not missing, f"not pinned: {missing}"
    assert not any("+" in line or "@" in line for line in lines), "a local version cannot be installed elsewhere"
