"""What the tests of passes, runtimes and whole runs share: tiny tasks, tiny models and their artifacts."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from tiny import TEXT, tiny_model

from lightbulb.core.artifact import Artifact
from lightbulb.tasks.task import Example, Task

if TYPE_CHECKING:
    from lightbulb.pipeline.run import Run

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("patient", parent=settings(), deadline=None)  # a busy machine is no failure
settings.load_profile("patient")
ANSWERS = {"red": "colour", "card": "bank_card", "money": "cash flow", "lost": "lost?", "lamp": "Lämpchen"}
FILLERS = ["alpha", "beta", "gamma", "delta", "one", "two", "three", "four", "five", "six"]


def choose_rows(n: int, seed: int = 0) -> list[dict[str, str]]:
    """Five answers with odd characters, each told by one word of the prompt."""
    rng, rows = random.Random(seed), []
    for i in range(n):
        word = list(ANSWERS)[i % len(ANSWERS)]
        words = rng.choices(FILLERS, k=rng.randint(2, 6)) + [str(i)]
        words.insert(rng.randrange(len(words)), word)
        rows.append({"prompt": " ".join(words), "completion": ANSWERS[word]})
    return rows


def generate_rows(n: int) -> list[dict[str, str]]:
    return [
        {
            "prompt": f"turn on the light number {i}",
            "completion": json.dumps({"device": "light", "number": i, "state": "on"}),
        }
        for i in range(n)
    ]


def text_rows(n: int) -> list[dict[str, str]]:
    lines = TEXT.splitlines()
    return [{"text": f"{lines[i % len(lines)]} Note {i}: naïve café, {i} × 3."} for i in range(n)]


ROWS = {"choose": choose_rows, "generate": generate_rows, "text": text_rows}
METRICS = {"choose": "accuracy", "generate": "json-match", "text": "bits-per-byte"}


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def tiny_task(kind: str, n: int = 60) -> Task:
    rows = [Example(r.get("prompt", ""), r.get("completion") or r["text"]) for r in ROWS[kind](n)]
    a, b = n * 7 // 10, n * 85 // 100
    return Task(
        name=f"tiny-{kind}",
        kind=kind,
        metric=METRICS[kind],
        train=tuple(rows[:a]),
        validation=tuple(rows[a:b]),
        test=tuple(rows[b:]),
        answers=tuple(sorted(ANSWERS.values())) if kind == "choose" else (),
    )


def bare_run(folder: Path, task: Task) -> Run:
    """A run of one thread, without sensors and without a word."""
    from lightbulb.core.progress import Silent
    from lightbulb.energy.meter import Meter
    from lightbulb.pipeline.run import Run

    return Run(folder, task, seed=0, progress=Silent(), meter=Meter((), threads=1), threads=1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A random three-layer llama with tokenizer and chat template."""
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model", layers=3)


@pytest.fixture(scope="session")
def tasks() -> dict[str, Task]:
    return {kind: tiny_task(kind) for kind in ROWS}


@pytest.fixture(scope="session")
def imported(tiny_folder, tmp_path_factory) -> Artifact:
    from lightbulb.models.importing import import_model
    from lightbulb.models.resolve import resolve

    folder = tmp_path_factory.mktemp("imported") / "model"
    facts = import_model(resolve(str(tiny_folder)), folder)
    artifact = Artifact(path=folder, kind="model", key="imported", made_by="import", facts=facts)
    artifact.write_record(folder)
    return artifact


@dataclass
class ByHeart:
    """A model that has learnt a generate task by heart, with tokens for the answers of a choose task, and its file;
    opened once in each runtime."""

    artifact: Artifact
    task: Task
    runtimes: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.artifact.path / "model.gguf"

    def opened(self, name: str) -> Any:
        """In the runtime of that name, anew; an endpoint is a llama.cpp of this process."""
        from lightbulb.runtimes import runtime_class

        cls = runtime_class(name)
        address = f"{self.runtime('llamacpp')._server.listening_address}/v1#tiny" if cls.opens == "url" else ""
        return cls.open({"gguf": self.file, "folder": self.artifact, "url": address}[cls.opens], threads=1)

    def runtime(self, name: str) -> Any:
        if name not in self.runtimes:
            self.runtimes[name] = self.opened(name)
        return self.runtimes[name]

    def case(self, name: str, other: str | None = None) -> Any:
        """The case of a runtime for its conformance suite. other: one that it must agree with."""
        from lightbulb.testing import RuntimeCase

        return RuntimeCase(
            self.runtime(name),
            memorised=[([{"role": "user", "content": e.prompt}], e.completion) for e in self.task.train[:5]],
            answers=tiny_task("choose").answers,
            texts=[e.completion for e in tiny_task("text").test[:3]],
            reference=None if other is None else self.runtime(other),
            opened=lambda: self.opened(name),
        )


@pytest.fixture(scope="session")
def by_heart(imported, tmp_path_factory) -> ByHeart:
    from lightbulb.models.gguf import write_gguf
    from lightbulb.models.loading import load_model, save_model
    from lightbulb.models.vocabulary import add_answers
    from lightbulb.passes import pass_class
    from lightbulb.train.loop import Schedule

    task, answers = tiny_task("generate", 12), tiny_task("choose").answers
    with bare_run(tmp_path_factory.mktemp("by_heart"), task) as run:
        formatted = run.step("formatted", pass_class("format-task")(), imported)
        schedule = Schedule(epochs=120, learning_rate=3e-3, batch_size=8)
        learnt = run.step("learnt", pass_class("adapt")(schedule=schedule), formatted)
    folder = tmp_path_factory.mktemp("runtimes")
    model = load_model(learnt.path)
    ids = add_answers(learnt.path, folder, model, answers)
    save_model(model, folder)
    metadata: dict[str, Any] = {"lightbulb.answers": list(answers), "lightbulb.answer_ids": ids}
    write_gguf(folder, folder / "model.gguf", "f32", metadata=metadata)
    return ByHeart(Artifact(path=folder, kind="model", key="by-heart", made_by="test", facts={"answer_ids": ids}), task)
