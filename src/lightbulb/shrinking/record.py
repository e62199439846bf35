"""What a finished run says about itself: `result.json`, and nothing that is not in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from lightbulb.core.errors import RunFailure
from lightbulb.core.facts import AbstentionFacts
from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json, write_json
from lightbulb.models.origin import Origin
from lightbulb.runtimes import NO_LANGUAGE_MODEL
from lightbulb.tasks.task import TaskKind

Verdict = Literal["kept", "within-noise", "not-shrunk", "not-kept"]
DONE = "result.json"  # in a run's folder: where it stands, the run is done
FileKind = str  # "decoder", another kind of student, or "stock"
Quantity = Literal[
    "bytes",
    "cpu_seconds_per_answer",
    "joules_per_answer",
    "cpu_seconds_per_right_answer",
    "joules_per_right_answer",
    "tokens_per_second",
]


class Record(BaseModel):
    """Keys that this version does not know are carried along: a later version may have written the file."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Scored(Record):
    """One model file: how well it does the task and what an answer costs in `runtime`. Figures are per answer, and per
    answer that is right where the metric says which are.

    Attributes:
        kind: "decoder", "recurrent" (one whose attention was replaced), "linear" (n-grams), "slots" or another kind of
            student, or "stock" for a quantization of the adapted teacher
        path: relative to the run folder, None where that is not known
        bytes: size of the model file, counted
        making: CPU seconds of all the steps that lead to it, the teacher's among them where it needs them
        why: it is not handed out, of a student
        abstention: what leaving out answers does on test, where it does
    """

    name: str = ""
    kind: FileKind | None = None
    runtime: str = ""
    path: str | None = None
    score: Figure
    bytes: int | None = None
    joules_per_answer: Figure | None = None
    cpu_seconds_per_answer: Figure | None = None
    seconds_per_answer: Figure | None = None
    joules_per_right_answer: Figure | None = None
    cpu_seconds_per_right_answer: Figure | None = None
    tokens_per_second: Figure | None = None
    prompt_tokens_per_answer: Figure | None = None
    output_tokens_per_answer: Figure | None = None
    making: Figure | None = None
    abstention: AbstentionFacts | None = None
    why: str = ""

    @property
    def no_language_model(self) -> bool:
        """Whether it only chooses, or fills in."""
        return self.runtime in NO_LANGUAGE_MODEL


class Making(Record):
    """What the whole run cost, the teacher's side included. `seconds` is wall-clock time."""

    joules: Figure | None = None
    cpu_seconds: Figure | None = None
    seconds: float | None = None
    grams_co2e: Figure | None = None


class LedgerRow(Record):
    """One step of the making. `made_by` names the pass; `seconds` is wall-clock time."""

    step: str
    made_by: str = ""
    seconds: float | None = None
    cpu_seconds: Figure | None = None
    joules: Figure | None = None
    note: str = ""


class TriedCandidate(Record):
    """A student that was tried. `score` is on the validation split; `why` says why it was or was not taken."""

    name: str
    kind: FileKind = "decoder"
    layers: int | None = None
    score: Figure | None = None
    seconds: float | None = None
    chosen: bool = False
    why: str = ""


class Difference(Record):
    """A test item to which teacher and student gave different answers."""

    prompt: str
    reference: str
    teacher: str
    student: str


class Counts(Record):
    """How many test items were answered rightly by whom."""

    both: int
    only_teacher: int
    only_student: int
    neither: int


class Ratio(Record):
    """`value` times more (or less) of something. `quantity` and `against` let a page look up the ratio of the student
    to the model of that name; without them it is only listed. For costs it is before / after, so above 1 is a gain."""

    name: str
    value: Figure
    quantity: Quantity | None = None
    against: str | None = None


class Reference(Record):
    """What an answer of a stock file costs, by a run's measurements.

    Attributes:
        times: how many times less CPU time the run's student takes; None where no student is handed out, or where it
            is not less
    """

    name: str
    cpu_seconds_per_answer: Figure | None = None
    joules_per_answer: Figure | None = None
    times: Figure | None = None


class Result(Record):
    """`result.json`.

    Attributes:
        verdict: "kept" and "within-noise": a student is handed out that does what was asked and costs less, surely so
            or as far as this test set can say. "not-shrunk": the cheapest stock file that does is handed out instead.
            "not-kept": nothing that was made does.
        reason: why it came to that, "" where a student is handed out
        keep: what was asked for, as is at_least
        abstain: likewise, what must hold of the answers that are given, {"precision" or "coverage": share}; scores are
            of all answers
        none_label: what is said where none is given
        reference: name of the model that `keep` is a share of
        floor: the score on test that does what was asked
        teacher: None where a kind that needs none was all that was asked for
        student: what is handed out as model.gguf, None where nothing is
        best_student: where no student is handed out, the one that comes nearest
        students: every student's file that was measured, of whatever kind, handed out or not
        base: the model that what is handed out was made from, None where that is the examples alone
        compare_with: name of the baseline that before / after speaks of; without it the teacher
        retention: score of what is handed out / score of the reference on the same test items (inverted where lower
            is better); where it is the reference itself, / the adapted teacher's
        break_even_answers: null when the making is never paid back
        recipe: {"pass", "parameters", "key"} a step
        use: exact commands that use the result
        form: the text that the model reads for a question, {prompt} in its place: what to send where no chat template
            is applied
    """

    verdict: Verdict
    reason: str = ""
    task: str
    kind: TaskKind
    metric: str
    higher_is_better: bool = True
    keep: float | None = None
    at_least: float | None = None
    abstain: dict[str, float] | None = None
    none_label: str | None = None
    reference: str | None = None
    floor: float | None = None
    teacher: Scored | None = None
    baselines: list[Scored] = []
    student: Scored | None = None
    best_student: Scored | None = None
    students: list[Scored] = []
    base: Origin | None = None
    compare_with: str | None = None
    retention: Figure
    making: Making
    break_even_answers: Figure
    ratios: list[Ratio] = []
    recipe: list[dict[str, Any]] = []
    ledger: list[LedgerRow] = []
    candidates: list[TriedCandidate] = []
    verify: dict[str, Figure] = {}
    counts: Counts | None = None
    examples: list[Difference] = []
    findings: list[str] = []
    use: list[str] = []
    form: str | None = None
    versions: dict[str, str] = {}
    machine: dict[str, str] = {}
    command: str = ""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        """Teacher and student need no name in the file: a page needs one."""
        if not isinstance(values, dict):
            return values
        filled = _from_refused(dict(values))
        for role, name in (("teacher", "adapted teacher"), ("student", "student"), ("best_student", "student")):
            scored = filled.get(role)
            if isinstance(scored, dict) and not scored.get("name"):
                filled[role] = {**scored, "name": name}
            elif isinstance(scored, Scored) and not scored.name:
                filled[role] = scored.model_copy(update={"name": name})
        return filled

    @property
    def shrunk(self) -> Scored | None:
        """The student that is handed out; None where a stock file or nothing is. Only of it may savings be told."""
        return self.student if self.verdict in ("kept", "within-noise") else None

    @property
    def below(self) -> Scored | None:
        """The student that was made and is not handed out. In records of before there was `best_student`, what did not
        keep the floor is called `student`."""
        return self.best_student or (self.student if self.verdict == "not-kept" else None)

    @property
    def stock(self) -> list[Scored]:
        """The adapted teacher's files as a user would quantize it, f16 first; none where no teacher was needed."""
        return [*([self.teacher] if self.teacher else []), *self.baselines]

    @property
    def models(self) -> list[Scored]:
        """Teacher, baselines, students, in that order; the student that is handed out, or comes nearest, last."""
        first = [m for m in (self.shrunk, self.below) if m is not None]
        others = [m for m in self.students if m.name not in {f.name for f in first}]
        return [*self.stock, *others, *first]

    @staticmethod
    def read(path: Path) -> Result:
        """The result that a run wrote.

        Raises:
            RunFailure: `path` is no result that this version understands
        """
        try:
            return Result.model_validate(read_json(path))
        except ValidationError as e:
            first = e.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise RunFailure(
                f"not a result of a run: {key}: {first['msg']}",
                where=str(path),
                hint="delete it and run the same `lightbulb shrink` again: it writes the file anew",
            ) from e

    def write(self, path: Path) -> None:
        write_json(path, self.model_dump(mode="json"))


def _from_refused(values: dict[str, Any]) -> dict[str, Any]:
    """A record from before there was "not-shrunk": `refused` said why the student was not handed out, and the stock
    file to be used instead was the one that it was compared with."""
    reason = values.pop("refused", None)
    if not reason:
        return values
    stock = [values["teacher"], *values.get("baselines", [])]
    names = [m["name"] if isinstance(m, dict) else m.name for m in stock]
    instead = stock[names.index(values["compare_with"])] if values.get("compare_with") in names else stock[0]
    student = {"student": instead, "best_student": values.get("student")}
    return {**values, **student, "verdict": "not-shrunk", "reason": reason}
