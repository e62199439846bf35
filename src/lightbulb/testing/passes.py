"""What every pass must hold: source unchanged, same seed same bytes, output reloads, resume equals a straight run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightbulb.core.artifact import RECORD, Artifact
from lightbulb.core.progress import Progress, Silent
from lightbulb.energy.meter import Meter
from lightbulb.passes.base import Pass
from lightbulb.pipeline.run import COST, Run
from lightbulb.tasks.task import Task

LABEL = "step"


@dataclass(frozen=True)
class PassCase:
    """A pass on something it can work on.

    Attributes:
        pass_: the pass
        source: that it reads
        task: that it works on
        inputs: artifacts by role
        changed: the same pass with another parameter; None for a pass without parameters
        trains: it works in many steps and keeps checkpoints
        timed: its figures are of time, which no seed repeats
        threads: of the processor
        reload: reads what it makes, where that is of a kind that lightbulb does not know
    """

    pass_: Pass
    source: Artifact
    task: Task
    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    changed: Pass | None = None
    trains: bool = False
    timed: bool = False
    threads: int = 1
    reload: Callable[[Artifact], None] | None = None


class PassConformance:
    """Source unchanged; same seed, same bytes; the output reloads; a resumed step equals a straight one; the key knows
    parameters, version, source, inputs, task, seed and threads. Needs a fixture `case` that gives a PassCase."""

    def test_source_and_inputs_stay_unchanged(self, case: PassCase, tmp_path: Path) -> None:
        read = [case.source, *case.inputs.values()]
        before = [contents(a.path) for a in read]
        make(case, tmp_path / "run")
        assert [contents(a.path) for a in read] == before, f"{case.pass_.name} wrote into what it reads"

    def test_same_seed_same_bytes(self, case: PassCase, tmp_path: Path) -> None:
        one, other = make(case, tmp_path / "one"), make(case, tmp_path / "other")
        assert one.key == other.key
        assert_same_output(case, one, other)

    def test_output_reloads(self, case: PassCase, tmp_path: Path) -> None:
        made = make(case, tmp_path / "run")
        assert made.kind == case.pass_.makes
        assert Artifact.read(made.path) == made, "the facts do not survive lightbulb.json"
        assert made.facts_as(case.pass_.facts_type).record() == made.facts
        (case.reload or RELOAD[made.kind])(made)

    def test_resumed_equals_straight(self, case: PassCase, tmp_path: Path) -> None:
        straight = make(case, tmp_path / "straight")
        with frequent_checkpoints():
            stop = Stop(after=3)
            interrupted = attempt(case, tmp_path / "resumed", stop) is None
            left = [p.name for p in (tmp_path / "resumed" / "steps").iterdir()]
            assert not interrupted or left == [], f"an interrupted step left {left}"
            watch = Stop(after=math.inf)
            resumed = attempt(case, tmp_path / "resumed", watch)
        assert resumed is not None
        if case.trains:
            assert interrupted, "a training pass reports every step: this one was not stopped after three"
            assert watch.reported[0] > 1, "it began again instead of resuming at its checkpoint"
        assert not any((tmp_path / "resumed" / "scratch").glob("*")), "scratch stays behind"
        assert_same_output(case, straight, resumed)

    def test_key_knows_what_decides(self, case: PassCase, tmp_path: Path) -> None:
        def key(pass_: Pass = case.pass_, seed: int = 0, **other: Any) -> str:
            given = {"source": case.source.key, "inputs": case.inputs} | other
            where = replace(case, **{name: given.pop(name) for name in ("task", "threads") if name in given})
            return _run(where, tmp_path, Silent(), seed).key(pass_, given["source"], given["inputs"])

        parameters = case.pass_.model_dump()
        later = type("Later", (type(case.pass_),), {"version": case.pass_.version + 1})
        keys = [
            key(),
            key(later(**parameters)),
            key(seed=1),
            key(source="another"),
            key(task=replace(case.task, test=case.task.test[1:])),
            key(threads=case.threads + 1),
            *([key(case.changed)] if case.changed else []),
            *(key(inputs={**case.inputs, role: _renamed(a)}) for role, a in case.inputs.items()),
        ]
        assert len(set(keys)) == len(keys)
        assert key(type(case.pass_)(**parameters)) == keys[0]


def make(case: PassCase, folder: Path, progress: Progress | None = None) -> Artifact:
    """The artifact of the case's pass, made (or resumed, or found) in the run folder `folder` with seed 0."""
    with _run(case, folder, progress or Silent(), 0) as run:
        return run.step(LABEL, case.pass_, case.source, case.inputs)


def attempt(case: PassCase, folder: Path, progress: Progress) -> Artifact | None:
    """As `make`; None when `progress` stopped it."""
    try:
        return make(case, folder, progress)
    except Stopped:
        return None


def _run(case: PassCase, folder: Path, progress: Progress, seed: int) -> Run:
    return Run(
        folder, case.task, seed=seed, progress=progress, meter=Meter((), threads=case.threads), threads=case.threads
    )


def _renamed(artifact: Artifact) -> Artifact:
    return artifact.model_copy(update={"key": "another"})


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of the files in a folder."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def assert_same_output(case: PassCase, one: Artifact, other: Artifact) -> None:
    """Same files, same bytes, but for what a step cost (and, for timed passes, what was measured)."""
    a, b = contents(one.path), contents(other.path)
    assert a.keys() == b.keys()
    assert COST in a and RECORD in a
    different = [name for name in a if name != COST and a[name] != b[name]]
    if not case.timed:
        assert different == [], f"these files differ: {different}"


class Stopped(Exception):
    """Stands for a kill, in tests."""


class Stop:
    """Progress that stops the work at the report number `after`, and remembers what was reported."""

    def __init__(self, after: float):
        self.after, self.reported = after, list[float]()

    def working(self, label: str) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Callable[[float, str], None]]:
        def advance(done: float, note: str = "") -> None:
            self.reported.append(done)
            if len(self.reported) >= self.after:
                raise Stopped(f"{label} at {done} of {total}")

        yield advance


@contextmanager
def frequent_checkpoints() -> Iterator[None]:
    """A checkpoint after every training step."""
    from lightbulb.train import loop

    before = loop.CHECKPOINT_SECONDS, loop.CHECKPOINT_SHARE
    loop.CHECKPOINT_SECONDS, loop.CHECKPOINT_SHARE = 0.0, 0
    try:
        yield
    finally:
        loop.CHECKPOINT_SECONDS, loop.CHECKPOINT_SHARE = before


def _reload_model(made: Artifact) -> None:
    import torch

    from lightbulb.models.loading import load_model, load_tokenizer

    model, tokenizer = load_model(made.path), load_tokenizer(made.path)
    ids = torch.tensor([tokenizer("Hello there").input_ids])
    assert int(ids.max()) < model.config.vocab_size
    with torch.no_grad():
        assert torch.isfinite(model(ids).logits).all()


def _reload_gguf(made: Artifact) -> None:
    from lightbulb.runtimes.llamacpp import LlamaCpp

    runtime = LlamaCpp(made.gguf, threads=1)
    assert runtime.generate([runtime.render([{"role": "user", "content": "Hello there"}])], 1).output_tokens == 1
    runtime.close()


def _reload_logits(made: Artifact) -> None:
    from lightbulb.train.logits import TeacherLogits

    log_probs_PK, ids_PK = TeacherLogits(made.path).rows([0])
    assert log_probs_PK.shape == ids_PK.shape and len(ids_PK) >= 1
    assert (log_probs_PK <= 0).all() and (log_probs_PK.exp().sum(-1) <= 1.01).all()


def _reload_figures(made: Artifact) -> None:
    assert made.facts, "figures without a single fact"


RELOAD: dict[str, Callable[[Artifact], None]] = {
    "model": _reload_model,
    "gguf": _reload_gguf,
    "logits": _reload_logits,
    "figures": _reload_figures,
}
