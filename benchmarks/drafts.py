"""What an answer costs when several tokens are written in a step: CPU seconds and joules, in pairs, in one run.

    git worktree add /tmp/before 2aaf520 && pip install --target /tmp/before-filament /tmp/before/filament
    python benchmarks/drafts.py --before /tmp/before-filament [--data ../shared/data] [--answers 12] [--write]

SmolLM2-135M as it comes, q4_0, one thread, greedy. JSON tasks are held to a schema that the training answers make: an
object for each set of keys that some answer has, its values those that were seen, or any string where there are many.
The ways: filament as it was before (--before: a folder with that build); now, with what a grammar forces written
without the model ("forced"), or with guesses from the text itself ("guesses"; where there is no schema); llama.cpp on
the same file. Each is a process of its own; an answer is asked of all, in random order.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from sections import commit, put
from shapes import ROOT, make

HEADING = "## filament beside llama.cpp"
FEW = 64  # values of a field that are named in a schema
LONGEST = {"home": 48, "restaurant8k": 48, "nl2bash": 64, "medquad": 128, "medquad, shortened": 128}  # tokens
SHOTS = 3  # examples before a question that is answered in JSON


@dataclass(frozen=True)
class Work:
    """Questions of one task. turns: of each, as chat templates take them."""

    name: str
    turns: list[list[dict[str, str]]]
    schema: str | None = None


@dataclass(frozen=True)
class Answered:
    """One answer in one way. joules: None where nothing measures or estimates them."""

    text: str
    tokens: int
    cpu: float
    joules: float | None
    reading: float | None = None  # CPU seconds of the prompt, but for its last token
    guessed: int = 0
    right: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--before", type=Path, help="a folder with another build of lightbulb_filament")
    parser.add_argument("--answers", type=int, default=12, help="of each task")
    parser.add_argument("--only", nargs="+", help="names of tasks")
    parser.add_argument("--file", type=Path, help="a GGUF instead of the one that is made")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        return answer_all(*asked.worker)
    with tempfile.TemporaryDirectory() as folder:
        file = asked.file or make("SmolLM2-135M q4_0", Path(folder))
        rows = []
        for work in works(asked.data, asked.answers, asked.only):
            rows.append(row(work, measure(work, file, asked.before)))
            print(line(rows[-1]), flush=True)
    text = render(rows)
    print(text)
    if asked.write:
        put("drafts", text, HEADING)
    return 0


def works(data: Path, answers: int, only: Sequence[str] | None) -> list[Work]:
    """The tasks; those whose data is not there are left out."""
    from lightbulb.tasks.demo import home_task

    task, made = home_task(), []
    train = [(e.prompt, e.completion) for e in task.train]
    made.append(json_work("home", train, [e.prompt for e in task.test][:answers]))
    if (data / "restaurant8k").is_dir():
        train = [(r["prompt"], r["completion"]) for r in read(data / "restaurant8k" / "train.jsonl")]
        asked = [r["prompt"] for r in read(data / "restaurant8k" / "test.jsonl")]
        made.append(json_work("restaurant8k", train, spread([t for t in asked if len(t.split()) > 5], answers)))
    if (data / "nl2bash").is_dir():
        rows = spread(read(data / "nl2bash" / "test.jsonl"), answers)
        made.append(Work("nl2bash", [user(f"Write one bash command: {r['prompt']}") for r in rows]))
    if (data / "medquad").is_dir():
        rows = spread(read(data / "medquad" / "test.jsonl"), answers)
        made.append(Work("medquad", [user(r["prompt"]) for r in rows]))
        short = [user(f"{r['completion'][:1200]}\n\nSay this in three sentences.") for r in rows]
        made.append(Work("medquad, shortened", short))
    return [work for work in made if not only or work.name in only]


def json_work(name: str, train: list[tuple[str, str]], asked: list[str]) -> Work:
    shots = [
        {"role": role, "content": text} for pair in spread(train, SHOTS) for role, text in zip(ROLES, pair, strict=True)
    ]
    return Work(name, [[*shots, *user(question)] for question in asked], json.dumps(schema_of([a for _, a in train])))


ROLES = ("user", "assistant")


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]


def spread(rows: list[Any], count: int) -> list[Any]:
    """`count` of them, evenly."""
    return rows[:: max(1, len(rows) // count)][:count]


def schema_of(answers: Sequence[str]) -> dict[str, Any]:
    """What JSON objects with text values have in common: their sets of keys, in order, and the values of each key."""
    shapes: dict[tuple[str, ...], dict[str, set[str]]] = {}
    for answer in answers:
        found = json.loads(answer)
        values = shapes.setdefault(tuple(found), defaultdict(set))
        for key, value in found.items():
            values[key].add(value)
    each = {key for keys in shapes for key in keys}
    seen = {key: set().union(*(v[key] for v in shapes.values() if key in v)) for key in each}
    field = {k: {"enum": sorted(v)} if len(v) <= FEW else {"type": "string", "maxLength": 40} for k, v in seen.items()}
    objects = [
        {
            "type": "object",
            "properties": {key: field[key] for key in keys},
            "required": list(keys),
            "additionalProperties": False,
        }
        for keys in shapes
    ]
    return {"anyOf": objects}


def measure(work: Work, file: Path, before: Path | None) -> dict[str, list[Answered]]:
    """The answers of each way, in the order of the questions."""
    ways = [*(["before"] if before else []), "forced", *([] if work.schema else ["guesses"]), "llama.cpp"]
    if not work.schema:
        ways = [way for way in ways if way != "forced" or not before]  # nothing is forced: as before
    running = {way: Worker(way, file, before) for way in ways}
    found: dict[str, list[Answered]] = {way: [] for way in ways}
    for n, turns in enumerate([work.turns[0], *work.turns]):  # the first warms up
        for way in random.sample(ways, len(ways)):
            answer = running[way].ask(turns, LONGEST[work.name], work.schema)
            if n:
                found[way].append(answer)
    for worker in running.values():
        worker.close()
    return found


class Worker:
    """One way, in a process of its own."""

    def __init__(self, way: str, file: Path, before: Path | None):
        paths = [str(before)] if way == "before" else []
        path = os.pathsep.join([*paths, str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, __file__, "--worker", way, str(file)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )

    def ask(self, turns: list[dict[str, str]], tokens: int, schema: str | None) -> Answered:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([turns, tokens, schema]) + "\n")
        self.process.stdin.flush()
        return Answered(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def answer_all(way: str, file: str) -> int:
    """Answers lines of [turns, tokens, schema] with an Answered each. The clock starts behind grammar and template."""
    from lightbulb.energy.meter import Meter
    from lightbulb.runtimes.exchange import Options
    from lightbulb.runtimes.filament import Filament
    from lightbulb.runtimes.llamacpp import LlamaCpp

    runtime: Any = (LlamaCpp if way == "llama.cpp" else Filament)(Path(file), threads=1, context=2048)
    meter = Meter(threads=1)
    for asked in sys.stdin:
        turns, tokens, schema = json.loads(asked)
        prompt = runtime.render(turns)
        held = runtime._grammars.matcher("json-schema", schema) if schema and way != "llama.cpp" else None
        said: dict[str, Any] = {}
        with meter.window("answer") as window:
            start = time.process_time()
            if way == "llama.cpp":
                answers = runtime.generate([prompt], tokens, Options(schema=schema))
                said |= {"text": answers.texts[0], "tokens": answers.output_tokens}
            else:
                said |= written(runtime, runtime.tokenize(prompt), tokens, held, way == "guesses")
            said["cpu"] = time.process_time() - start
        print(json.dumps({**said, "joules": window.reading.joules.value}), flush=True)
    meter.close()
    return 0


def written(runtime: Any, prompt: list[int], tokens: int, constraint: Any, lookup: bool) -> dict[str, Any]:
    """By filament, of this build or of an older one."""
    from lightbulb_filament import CHUNK, _written

    start = time.process_time()
    known = runtime._model.remember(prompt[:-1])
    reading = time.process_time() - start
    stream = runtime._model._stream(prompt, tokens, prefix=known, **({"lookup": True} if lookup else {}))
    ids = list(_written(stream, constraint, CHUNK))
    counts = {"guessed": stream.guessed, "right": stream.right} if lookup else {}
    return {"text": runtime._tokenizer.decode(ids), "tokens": len(ids), "reading": reading, **counts}


HEAD = (
    "task",
    "tokens an answer",
    "way",
    "CPU ms an answer",
    "of these writing",
    "mJ an answer",
    "CPU, times the first way's",
    "writing",
    "the same text",
    "guessed, right",
)


def row(work: Work, found: dict[str, list[Answered]]) -> list[list[str]]:
    """A row of the table for each way."""
    first = next(iter(found))
    return [[work.name, *cells(way, answers, found[first])] for way, answers in found.items()]


def cells(way: str, answers: list[Answered], first: list[Answered]) -> list[str]:
    joules = [a.joules for a in answers if a.joules is not None]
    writing = [a.cpu - a.reading for a in answers if a.reading is not None]
    before = [b.cpu - b.reading for b in first if b.reading is not None]
    same = sum(a.text == b.text for a, b in zip(answers, first, strict=True))
    guessed, right = sum(a.guessed for a in answers), sum(a.right for a in answers)
    return [
        f"{statistics.mean(a.tokens for a in answers):.1f}",
        way,
        f"{1e3 * statistics.mean(a.cpu for a in answers):.1f}",
        f"{1e3 * statistics.mean(writing):.1f}" if writing else "",
        f"{1e3 * statistics.mean(joules):.0f}" if joules else "not measured",
        ratio([a.cpu for a in answers], [b.cpu for b in first]),
        ratio(writing, before) if writing else "",
        f"{same} of {len(answers)}",
        f"{guessed}, {right / guessed:.0%}" if guessed else "",
    ]


def ratio(ours: list[float], theirs: list[float]) -> str:
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def render(rows: list[list[list[str]]]) -> str:
    from importlib.metadata import version

    from lightbulb.energy.processor import processor_name

    said = (
        f"`python benchmarks/drafts.py {shlex.join(sys.argv[1:])}`, {date.today()}, commit {commit()}, "
        f"{processor_name()}, one thread; SmolLM2-135M q4_0; xllamacpp {version('xllamacpp')}. Means over answers; "
        "times: answer by answer, median (least to most). Joules are the meter's."
    )
    return "\n".join([said, "", "| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|", *map(line, rows)])


def line(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(each) + " |" for each in rows)


if __name__ == "__main__":
    raise SystemExit(main())
