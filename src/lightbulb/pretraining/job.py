"""From text to a model: the steps of a training, and its record."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightbulb.core.artifact import RECORD, Artifact
from lightbulb.core.facts import GgufFacts, ImportFacts, ScoreFacts, TrainingFacts
from lightbulb.core.files import new_file, new_folder, read_json, sha256_of
from lightbulb.core.version import __version__
from lightbulb.models.resolve import ModelSource, fingerprint
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export import Export
from lightbulb.passes.pretrain import LOSSES, Pretrain
from lightbulb.pipeline.run import COST, Run
from lightbulb.pretraining.goal import TOKENS_PER_PARAMETER, TrainingGoal
from lightbulb.pretraining.record import DONE, TrainingRecord, curve
from lightbulb.pretraining.start import START_VERSION, tokenizer_source, write_start

Say = Callable[[str], None]
TRAINING_SHARE = 0.85  # of the time that is left when it begins; the rest scores and writes
OF_STEPS = {RECORD, COST, LOSSES}  # files that are about a step, not of the model


def bind_config(run: Run, goal: TrainingGoal, source: ModelSource | None) -> None:
    """Ties the run's folder to this training."""
    asked = goal.model_dump(mode="json", exclude={"tokenizer"})
    run.bind_config({"train": asked, "tokenizer": source and fingerprint(source), "task": run.task.fingerprint})


def perform(run: Run, goal: TrainingGoal, source: ModelSource | None, *, command: str, say: Say) -> TrainingRecord:
    """Performs, or resumes, a training in `run`'s folder, up to its record.

    Args:
        run: with the text as its task
        goal: what is asked for
        source: of the tokenizer; None: it is learned
        command: for the record
        say: hears what is going on
    """
    with run.release_on_user_error():
        start = begin(run, goal, source)
    facts = start.facts_as(ImportFacts)
    assert facts.parameters is not None
    say(f"model: {facts.parameters:,} parameters, {facts.layers} layers of width {facts.width}, "
        f"{facts.vocabulary:,} tokens")  # fmt: skip
    tokens = goal.tokens or float(TOKENS_PER_PARAMETER * facts.parameters)
    rows = run.decisions.decide_once("rows", lambda: count_rows(run, start, goal))
    say(f"text: {rows * goal.context:,} tokens, read {tokens / (rows * goal.context):.3g} times")
    pass_ = training_of(goal, tokens, rows)
    left = run.decisions.decide_once("seconds for training", lambda: TRAINING_SHARE * _left(run, goal))
    trained = run.step("trained", pass_, start, seconds=left, joules=goal.max_joules)
    file = run.step("file", Export(quant_type=goal.embedding), trained)
    score = run.step("score", Evaluate(), trained, seconds=max(1.0, _left(run, goal)))
    return _published(run, goal, {"start": start, "trained": trained, "file": file, "score": score}, rows, command)


def begin(run: Run, goal: TrainingGoal, source: ModelSource | None) -> Artifact:
    """The artifact that training starts from."""
    deciding = goal.model_dump(mode="json", include={
        "architecture", "size", "layers", "width", "feed_forward", "context", "vocabulary", "seed",
    })  # fmt: skip
    key = sha256_of("start", START_VERSION, deciding, source and fingerprint(source), run.task.fingerprint)

    def work(out: Path, scratch: Path, progress: Any) -> dict[str, Any]:
        return dict(write_start(run.task, goal, source, out, progress))

    return run.begin("start", key, work, made_by="start")


def count_rows(run: Run, start: Artifact, goal: TrainingGoal) -> int:
    """Rows that the text is packed into."""
    from lightbulb.models.loading import load_tokenizer
    from lightbulb.train.pretraining import packed

    with run.progress.working("reading the text"):
        return len(packed((e.completion for e in run.task.train), load_tokenizer(start.path), goal.context))


def training_of(goal: TrainingGoal, tokens: float, rows: int) -> Pretrain:
    """The training that reads so many tokens of so many rows."""
    from lightbulb.train.pretraining import Pretraining

    schedule = Pretraining(
        epochs=tokens / (rows * goal.context),
        learning_rate=goal.rate,
        batch_size=max(1, goal.batch_tokens // goal.context),
        decay=goal.decay,
        drop=goal.usual_drop,
    )
    return Pretrain(schedule=schedule, context=goal.context)


def _left(run: Run, goal: TrainingGoal) -> float:
    return goal.max_seconds - run.spent().seconds


def _published(run: Run, goal: TrainingGoal, made: Mapping[str, Artifact], rows: int, command: str) -> TrainingRecord:
    """Copies the model and its file into the run's folder, and writes the record."""
    trained, folder = made["trained"], run.folder
    shutil.rmtree(folder / "model", ignore_errors=True)
    with new_folder(folder / "model") as beside:
        shutil.copytree(trained.path, beside, dirs_exist_ok=True, ignore=lambda path, names: {*names} & OF_STEPS)
    with new_file(folder / "model.gguf") as copy:
        shutil.copyfile(made["file"].gguf, copy)
    record = record_of(run, goal, made, rows, command)
    record.write(folder / DONE)  # last: where it stands, the run is done
    return record


def record_of(run: Run, goal: TrainingGoal, made: Mapping[str, Artifact], rows: int, command: str) -> TrainingRecord:
    """The record of what was made."""
    facts, trained = made["start"].facts_as(ImportFacts), made["trained"].facts_as(TrainingFacts)
    score, file, cost = made["score"].facts_as(ScoreFacts), made["file"].facts_as(GgufFacts), run.cost(made["trained"])
    shape = goal.shape(facts.vocabulary)
    batch = max(1, goal.batch_tokens // goal.context)
    per_epoch = -(-rows // batch)
    tokens = trained.steps * batch * goal.context
    return TrainingRecord(
        lightbulb=__version__,
        command=command,
        goal=goal,
        text=run.task.name,
        parameters=facts.parameters or 0,
        layers=facts.layers,
        width=facts.width,
        feed_forward=shape.feed_forward,
        vocabulary=facts.vocabulary,
        steps=trained.steps,
        tokens=tokens,
        epochs=trained.steps / per_epoch,
        train_loss=trained.train_loss,
        losses=curve(read_json(made["trained"].path / LOSSES)),
        score=score.score,
        score_items=score.items,
        training=cost,
        joules_per_token=cost.joules.scaled(1 / tokens, "J/token"),
        making=run.spent(),
        model="model",
        gguf="model.gguf",
        gguf_bytes=file.bytes,
        versions={name: version(name) for name in ("torch", "transformers", "tokenizers")},
    )


__all__ = ["DONE", "bind_config", "perform", "tokenizer_source"]
