"""A run: a folder of finished steps, each whole or absent, with what each cost.

    runs/tickets/
      goal.json            what was asked; the same command finds it and resumes
      plan.json            how `shrink` shares out the time for it
      clock.json           what the clock decided since then
      steps/<label>-<key>/ one artifact a step, with cost.json
      scratch/<key>/       checkpoints of the step in progress
      overhead.json        what was spent beside the steps
      events.jsonl         what happened, in order (core/events.py); decides nothing
      model.gguf result.json report.html README.md recipe.toml

A step's key hashes (source key, input keys, pass, version, parameters, task fingerprint, seed, threads), so a step is
done if its folder exists. A step with a budget may be shortened while it works: its parameters are then those that it
ended with, which clock.json remembers. Energy windows are opened here and in the measure protocol, nowhere else.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import UserError
from lightbulb.core.events import Stream
from lightbulb.core.files import new_folder, plain_os_errors, read_json, sha256_of, write_json
from lightbulb.core.progress import Progress
from lightbulb.energy.meter import Meter
from lightbulb.models.live import LiveModel
from lightbulb.passes.base import Context, Pass
from lightbulb.pipeline.decisions import Decisions, EnergyBudget, StepBudget
from lightbulb.pipeline.ledger import Cost, Heartbeat, subtract, total_cost
from lightbulb.pipeline.run_log import RunLog
from lightbulb.tasks.stored import TASK_VERSION, write_task
from lightbulb.tasks.task import Task
from lightbulb.train.together import ALONE, Alone

COST = "cost.json"
OVERHEAD = "overhead.json"
PLAN = "plan.json"
CLOCK = "clock.json"
CARRIED = ("answer_ids", "layer_order")  # facts that stay true of the output when a pass says nothing of them
NO_INPUTS: Mapping[str, Artifact] = MappingProxyType({})
StepFunction = Callable[[Path, Path, Heartbeat], dict[str, Any]]  # (out, scratch, progress) -> facts


def _shortened(label: str, planned: str) -> str:
    """The name of the decision what a step was shortened to."""
    return f"{label}-{planned[:12]} shortened to"


class Run:
    """Runs passes on one task into one folder. Use as a context manager: it holds a lock on the folder.

    Args:
        folder: of the run
        task: that its passes work on
        seed: of every step
        progress: where steps report
        meter: that opens their energy windows
        threads: of the processor
        events: what happens is told there and, from the first step on, kept in the folder
        team: of processes that train together, whose main one this is
    """

    def __init__(
        self,
        folder: Path,
        task: Task,
        *,
        seed: int,
        progress: Progress,
        meter: Meter,
        threads: int,
        events: Stream | None = None,
        team: Alone = ALONE,
    ):
        self.folder, self.task, self.seed = folder, task, seed
        self.progress, self.meter, self.threads = progress, meter, threads
        self.events, self.team = events or Stream(), team
        self._log = RunLog(folder, self.events)
        self.live = LiveModel()
        self.steps: list[Artifact] = []
        self.resumed = 0
        self._inside: list[Cost] = []  # of the steps that this process worked on

    def __enter__(self) -> Run:
        with plain_os_errors(self.folder):
            self._check_folder_is_run()
            (self.folder / "steps").mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise UserError(
                "another lightbulb is working in this folder",
                where=str(self.folder),
                hint="wait for it, or choose another `out`",
            ) from e
        self.decisions = Decisions(self.folder / CLOCK, self.events)
        self._sweep()
        self._earlier = [Cost.read(place)] if (place := self.folder / OVERHEAD).exists() else []
        self._window = self.meter.window("run").__enter__()
        return self

    def _check_folder_is_run(self) -> None:
        """Raises UserError for a folder of other things: a run would write over its README.md, and sweep."""
        if not self.folder.is_dir() or any((self.folder / own).exists() for own in ("steps", "goal.json")):
            return
        if strangers := sorted(p.name for p in self.folder.iterdir() if p.name != ".lock"):
            raise UserError(
                f"this folder holds other things ({', '.join(strangers[:3])}{', ...' if len(strangers) > 3 else ''})",
                where=str(self.folder),
                hint="`out` a new folder, such as runs/NAME",
            )

    def _sweep(self) -> None:
        """Removes what a kill left half-written."""
        for left in [*self.folder.glob(".*.tmp"), *(self.folder / "steps").glob(".*.tmp")]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        done = [step.name.rpartition("-")[::2] for step in (self.folder / "steps").iterdir()]
        for left in (self.folder / "scratch").glob("*"):
            # killed between the step and the end of its checkpoint
            if any(left.name == key or self.decisions.get(_shortened(label, left.name)) for label, key in done):
                shutil.rmtree(left)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._window.__exit__(None, None, None)
        self._log.close(error)
        self._lock.close()

    def bind_config(self, goal: Mapping[str, Any]) -> None:
        """Ties the folder to what was asked: the same again resumes.

        Args:
            goal: what was asked, JSON-able

        Raises:
            UserError: the folder holds anything else
        """
        path = self.folder / "goal.json"
        if not path.exists():
            write_json(path, dict(goal))
        known = read_json(path)
        if differing := [k for k, v in goal.items() if known.get(k) != v]:
            differences = (
                f"{k}: {known.get(k)!r} here, {goal[k]!r} asked" if not isinstance(goal[k], dict) else f"another {k}"
                for k in differing
            )
            raise UserError(
                "this folder holds another run (" + "; ".join(differences) + ")",
                where=str(self.folder),
                hint="choose another `out`, or repeat the earlier command to resume it",
            )

    @contextmanager
    def release_on_user_error(self) -> Iterator[None]:
        """What a user did wrong, if it shows in here, unties the folder from its goal, so that the hint works in it.
        Not where a plan was made for that goal."""
        try:
            yield
        except UserError:
            if not (self.folder / PLAN).exists():
                (self.folder / "goal.json").unlink(missing_ok=True)
                self.decisions.forget()  # what there was no time for may have time under another goal
            raise

    def key(self, pass_: Pass, source_key: str, inputs: Mapping[str, Artifact]) -> str:
        """The hash of all that decides the bytes of a step on one machine with one set of versions.

        Not in it, though they decide bytes too: the device, the processor and the versions of libraries. A run that
        goes on elsewhere keeps what it has paid for (docs/decisions.md).
        """
        return sha256_of(
            source_key,
            {role: a.key for role, a in inputs.items()},
            pass_.name,
            pass_.version,
            pass_.model_dump(mode="json"),
            self.task.fingerprint,
            self.seed,
            self.threads,
        )

    def step(
        self,
        label: str,
        pass_: Pass,
        source: Artifact,
        inputs: Mapping[str, Artifact] = NO_INPUTS,
        seconds: float | None = None,
        joules: float | None = None,
    ) -> Artifact:
        """The artifact of a pass: found if it was made before, else made now.

        Args:
            label: of the artifact
            pass_: as planned; what it was shortened to, now or in an earlier attempt, is what `performed` gives back
            source: that it reads
            inputs: other artifacts by role
            seconds: the time that it may take, if it is one that can do less
            joules: likewise, the energy, where `seconds` are given
        """
        planned = self.key(pass_, source.key, inputs)

        def key() -> str:
            return self.key(self.performed(label, pass_, planned), source.key, inputs)

        if "model" not in (*pass_.reads, *pass_.uses, *pass_.may_use):
            self.live.clear()  # its memory is of no use to what comes
        if not (artifact := self._found(label, key())):

            def work(out: Path, scratch: Path, progress: Heartbeat) -> dict[str, Any]:
                context = Context(
                    task=self.task,
                    seed=self.seed,
                    progress=progress,
                    scratch=scratch,
                    inputs=inputs,
                    threads=self.threads,
                    budget=self._budget(progress, _shortened(label, planned), seconds, joules),
                    live=self.live,
                    team=self.team,
                )
                carried = {k: source.facts[k] for k in CARRIED if k in source.facts}
                facts = carried | dict(self.performed(label, pass_, planned).apply(source, out, context))
                return pass_.facts_type.model_validate(facts).record()

            artifact = self.make(label, planned, pass_.makes, pass_.name, source.key, work, key)
        self.steps.append(artifact)
        return artifact

    def _budget(self, progress: Heartbeat, name: str, seconds: float | None, joules: float | None) -> StepBudget | None:
        if seconds is None:
            return None
        if joules is not None:
            return EnergyBudget(joules, progress.cost, seconds, self.decisions, name)
        return StepBudget(seconds, progress.seconds, self.decisions, name)

    def performed(self, label: str, pass_: Pass, planned: str) -> Pass:
        """`pass_` with the parameters that the clock has shortened it to. `planned` is its key without that."""
        return pass_.with_parameters(self.decisions.get(_shortened(label, planned)) or {})

    def begin(
        self, label: str, key: str, work: StepFunction, kind: ArtifactKind = "model", made_by: str = "import"
    ) -> Artifact:
        """An artifact that is made from outside: the imported model, the task as it was read."""
        artifact = self._found(label, key) or self.make(label, key, kind, made_by, None, work)
        self.steps.append(artifact)
        return artifact

    def keep_task(self) -> Artifact:
        """The task as it was read and split, as an artifact beside those that are made for it."""
        key = sha256_of("task", TASK_VERSION, self.task.fingerprint)
        return self.begin("task", key, lambda out, scratch, progress: write_task(self.task, out), "task", "read")

    def _place(self, label: str, key: str) -> Path:
        return self.folder / "steps" / f"{label}-{key[:12]}"

    def _found(self, label: str, key: str) -> Artifact | None:
        self._log.open(self.task, self.seed, self.threads)
        place = self._place(label, key)
        if not place.exists():
            return None
        self.resumed += 1
        found = Artifact.read(place)
        self._log.step_found(label, found)
        return found

    def make(
        self,
        label: str,
        key: str,
        kind: ArtifactKind,
        made_by: str,
        parent: str | None,
        work: StepFunction,
        final_key: Callable[[], str] | None = None,
    ) -> Artifact:
        """Makes an artifact: whole or absent, its cost and that of killed attempts beside it.

        Args:
            label: of the artifact
            key: of it; names its scratch
            kind: of it
            made_by: the pass's name
            parent: key of what it was made of
            work: writes its files and returns its facts
            final_key: gives the artifact's key where that is known only when the work is done
        """
        scratch, window = self.folder / "scratch" / key[:12], self.meter.window(label)
        final_key = final_key or (lambda: key)
        self._log.open(self.task, self.seed, self.threads)
        self._log.step_started(label, key, made_by)

        def place() -> Path:
            return self._place(label, final_key())

        try:
            with plain_os_errors(self.folder), window, new_folder(self._place(label, key), place) as out:
                heartbeat = Heartbeat(self.progress, window, scratch / "spent.json")
                with self.progress.working(label):
                    facts = work(out, scratch, heartbeat)
                artifact = Artifact(
                    path=place(), kind=kind, key=final_key(), parent=parent, made_by=made_by, facts=facts
                )
                artifact.write_record(out)
                write_json(out / COST, (cost := heartbeat.cost()).model_dump())
            self.live.bind(artifact.key)
        except BaseException:
            self.live.clear()
            raise
        finally:
            self._inside.append(Cost.of(window.reading))
        shutil.rmtree(scratch, ignore_errors=True)
        write_json(self.folder / OVERHEAD, self.overhead().model_dump())
        self._log.step_finished(label, artifact, cost)
        return artifact

    def adopt(self, finished: Path) -> Cost | None:
        """Takes over the folder of a step that a child process has finished for this run; it is then found as done.

        Returns:
            What it cost, which is not overhead; None where the step is there already.
        """
        if (place := self.folder / "steps" / finished.name).exists():
            return None
        cost = Cost.read(finished / COST)
        finished.replace(place)
        self._inside.append(cost)
        return cost

    def cost(self, artifact: Artifact) -> Cost:
        """What making it took, killed attempts included."""
        return Cost.read(artifact.path / COST)

    def overhead(self) -> Cost:
        """What this run took beside its steps: libraries, planning, choosing, copying; earlier attempts included."""
        now = Cost.of(self._window.so_far())
        return total_cost([*self._earlier, subtract(now, self._inside) if self._inside else now])

    def spent(self) -> Cost:
        """All finished steps of this run, each once, and what was spent beside them."""
        return total_cost([*(self.cost(a) for a in self.finished_steps()), self.overhead()])

    @staticmethod
    def label_of(artifact: Artifact) -> str:
        """The label of the step that made it."""
        return artifact.path.name.rsplit("-", 1)[0]

    def finished_steps(self) -> list[Artifact]:
        """Each once, in the order they were first needed."""
        return list({a.key: a for a in self.steps}.values())
