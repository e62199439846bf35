"""From text to a model: the steps of a training, and its record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightbulb.core.artifact import RECORD, Artifact
from lightbulb.core.errors import RunFailure
from lightbulb.core.facts import GgufFacts, ImportFacts, ScoreFacts, TrainingFacts
from lightbulb.core.figures import Figure
from lightbulb.core.files import new_file, new_folder, read_json, sha256_of
from lightbulb.core.progress import Silent
from lightbulb.core.version import __version__
from lightbulb.models.resolve import ModelSource, fingerprint
from lightbulb.passes.base import Context
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export import Export
from lightbulb.passes.pretrain import LOSSES, Pretrain
from lightbulb.pipeline.ledger import Cost
from lightbulb.pipeline.run import COST, Run
from lightbulb.pretraining.goal import TOKENS_PER_PARAMETER, TrainingGoal
from lightbulb.pretraining.record import DONE, TrainingRecord, curve
from lightbulb.pretraining.start import START_VERSION, tokenizer_source, write_start
from lightbulb.tasks.task import Task
from lightbulb.train.together import Alone

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


def assist(task: Task, goal: TrainingGoal, source: ModelSource | None, team: Alone) -> TrainingRecord:
    """What a process does that shares the training of another, the main one: its part of each batch. It keeps nothing.

    Args:
        task: with the same text
        goal: the same as the main process has
        source: likewise
        team: of both

    Returns:
        The main process's record.

    Raises:
        RunFailure: the main process has another text
    """
    from lightbulb.train.forward import to_best_device

    while "pass" in (told := json.loads(team.tell())):
        if told["task"] != task.fingerprint:
            raise RunFailure("this process has another text than the main one", where=task.name,
                             hint="copy the text to each machine")  # fmt: skip
        with TemporaryDirectory(prefix="lightbulb-") as folder:
            path, scratch = Path(folder) / "start", Path(folder) / "scratch"
            facts = write_start(task, goal, source, path, Silent())
            start = Artifact(path=path, kind="model", key="", parent=None, made_by="start", facts=facts)
            context = Context(task, goal.seed, Silent(), scratch, threads=goal.threads, team=team)
            model = to_best_device(context.live.take(start))
            Pretrain(**told["pass"]).change(model, start, Path(folder), context)
    return TrainingRecord.model_validate(told["record"])


def dismiss(team: Alone, record: TrainingRecord) -> None:
    """Lets the processes go that `assist`."""
    team.tell(json.dumps({"record": record.model_dump(mode="json")}))


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
        batch_size=goal.rows,
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
    score, file, cost = (
        made["score"].facts_as(ScoreFacts),
        made["file"].facts_as(GgufFacts),
        cost_of_all(run.team, run.cost(made["trained"])),
    )
    shape = goal.shape(facts.vocabulary)
    per_epoch = -(-rows // goal.rows)
    tokens = trained.steps * goal.rows * goal.context
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
        making=cost_of_all(run.team, run.spent()),
        model="model",
        gguf="model.gguf",
        gguf_bytes=file.bytes,
        versions={name: version(name) for name in ("torch", "transformers", "tokenizers")},
    )


def cost_of_all(team: Alone, cost: Cost) -> Cost:
    """The cost of all processes: without joules where some ran on machines whose sensors are not read here."""
    if not team.elsewhere:
        return cost
    joules = Figure(value=None, unit="J", method=f"{team.elsewhere} processes ran on other machines")
    return cost.model_copy(update={"joules": joules})


__all__ = ["DONE", "bind_config", "perform", "tokenizer_source"]
