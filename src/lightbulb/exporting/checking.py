"""An export answers the test items anew, in its own runtime: C compiled by the compiler of this machine, JavaScript in
node. What does not answer as the file does that it was made from is not handed over."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lightbulb.core.errors import RunFailure
from lightbulb.exporting.record import Checked, Form
from lightbulb.exporting.tables import templates

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-O2")
RUN_MODULE = """
import { readFileSync } from "node:fs";
import * as model from "./model.mjs";
const texts = JSON.parse(readFileSync("texts.json", "utf-8"));
const line = (text) => %s;
console.log(texts.map(line).join("\\n"));
"""
CHOSEN, FILLED = "model.classify(text).number", "(({ margin, answer }) => `${margin} ${answer}`)(model.fill(text))"


def check(
    to: Form, name: str, sources: dict[str, str], texts: Sequence[str], expected: Sequence[str], fills: bool = False
) -> Checked:
    """Compares an export's answers to `texts` with those `expected`.

    Args:
        to: "c" or "js"
        name: with which the names in C begin
        sources: the export's files by name
        texts: the test items' texts; none where they are not known
        expected: their answers: numbers of what is chosen; what is filled in, behind its margin
        fills: whether it is that

    Raises:
        RunFailure: an answer differs, or the export does not compile or run
    """
    if not texts:
        return Checked(items=None, why_not="there are no test items beside the file")
    program = next(filter(None, map(shutil.which, COMPILERS if to == "c" else ("node",))), None)
    if program is None:
        return Checked(items=None, why_not="no C compiler (cc) was found" if to == "c" else "node was not found")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(sources, folder)
        found = (_answers_of_c if to == "c" else _answers_of_js)(program, name, folder, texts, fills)
    wrong = [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
    if wrong:
        raise RunFailure(
            f"the export answers {len(wrong):,} of {len(texts):,} test items otherwise than the file it was made from",
            where=f"test item {wrong[0] + 1}: {found[wrong[0]]} instead of {expected[wrong[0]]}",
            hint="this is an error of lightbulb, or of the compiler: please report it",
        )
    version = output_of([program, "--version"], folder.parent).splitlines()[0]
    return Checked(items=len(texts), runtime=version if to == "c" else f"node {version}")


def write(sources: Mapping[str, str | bytes], folder: Path) -> None:
    """Files; those of text in UTF-8, the same bytes on every system."""
    for name, content in sources.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def texts_file(texts: Iterable[bytes]) -> bytes:
    """What the program of `program_source` reads."""
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def program_source(name: str, fills: bool = False) -> dict[str, str]:
    """A program in C that answers the texts of a file."""
    template = templates().get_template("fill-texts.c.j2" if fills else "answer-texts.c.j2")
    return {"answer-texts.c": template.render(name=name, upper=name.upper())}


def _answers_of_c(compiler: str, name: str, folder: Path, texts: Sequence[str], fills: bool) -> list[str]:
    write(program_source(name, fills), folder)
    (folder / "texts.bin").write_bytes(texts_file(text.encode("utf-8", "surrogatepass") for text in texts))
    output_of([compiler, *FLAGS, f"{name}.c", "answer-texts.c", "-o", "answer-texts"], folder)
    return output_of([str(folder / "answer-texts")], folder).split("\n")[:-1]


def _answers_of_js(node: str, name: str, folder: Path, texts: Sequence[str], fills: bool) -> list[str]:
    (folder / "model.js").rename(folder / "model.mjs")
    (folder / "run.mjs").write_text(RUN_MODULE % (FILLED if fills else CHOSEN), encoding="utf-8")
    (folder / "texts.json").write_text(json.dumps(list(texts)), encoding="utf-8")
    return output_of([node, "run.mjs"], folder).split("\n")[:-1]


def output_of(command: Sequence[str], folder: Path) -> str:
    """What a command prints in `folder`. Raises RunFailure where it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise RunFailure(
            f"the export could not be checked: {Path(command[0]).name} ended with {done.returncode}: "
            + (done.stderr.strip() or done.stdout.strip())[-1000:],
            where=" ".join(command),
        )
    return done.stdout
