"""Conformance suites: what every pass, runtime and sensor must hold, lightbulb's own and those of plugins.

    # test_my_pass.py
    from lightbulb.testing import PassCase, PassConformance

    class TestMyPass(PassConformance):
        @pytest.fixture
        def case(self, tmp_path):
            return PassCase(MyPass(strength=1), source=..., task=..., changed=MyPass(strength=2))

pytest collects the checks of the base class and runs each on the fixture `case`; tiny models keep that to seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightbulb.artifact import RECORD, Artifact
from lightbulb.energy.meter import Meter
from lightbulb.energy.sensors import Sensor
from lightbulb.energy.sensors.replay import ReplaySensor
from lightbulb.energy.sensors.summing import to_sum
from lightbulb.passes.base import Pass, Progress, Silent
from lightbulb.run import COST, Run
from lightbulb.runtimes.base import Runtime
from lightbulb.tasks.task import Task

LABEL = "step"


@dataclass(frozen=True)
class PassCase:
    """A pass on something it can work on.

    inputs: artifacts by role. changed: the same pass with another parameter (None for a pass without parameters).
    trains: it works in many steps and keeps checkpoints. timed: its figures are of time, which no seed repeats.
    """

    pass_: Pass
    source: Artifact
    task: Task
    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    changed: Pass | None = None
    trains: bool = False
    timed: bool = False
    threads: int = 1


class PassConformance:
    """Source unchanged; same seed, same bytes; the output reloads; a resumed step equals a straight one; the key knows
    every parameter, the seed and the task. Needs a fixture `case` that gives a PassCase."""

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
        RELOAD[made.kind](made)

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
        def key(pass_: Pass, seed: int = 0, source: str = case.source.key) -> str:
            return _run(case, tmp_path, Silent(), seed).key(pass_, source, case.inputs)

        keys = [key(case.pass_), key(case.pass_, seed=1), key(case.pass_, source="another")]
        if case.changed is not None:
            keys.append(key(case.changed))
        assert len(set(keys)) == len(keys)
        assert key(type(case.pass_)(**case.pass_.model_dump())) == keys[0]


def make(case: PassCase, folder: Path, progress: Progress | None = None) -> Artifact:
    """The artifact of the case's pass, made (or resumed, or found) in the run folder `folder` with seed 0."""
    with _run(case, folder, progress or Silent(), 0) as run:
        return run.step(LABEL, case.pass_, case.source, **case.inputs)


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


def contents(folder: Path) -> dict[str, bytes]:
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


@dataclass(frozen=True)
class RuntimeCase:
    """A runtime with a model that has learnt a few things by heart.

    memorised: (conversation, answer) pairs that greedy decoding must give back, and stop. answers: a closed set for
    which the model has tokens. texts: documents to score. reference: another runtime with the same weights.
    """

    runtime: Runtime
    memorised: Sequence[tuple[Sequence[dict[str, str]], str]]
    answers: Sequence[str]
    texts: Sequence[str]
    reference: Runtime | None = None

    def prompts(self, runtime: Runtime | None = None) -> list[str]:
        return [(runtime or self.runtime).render(turns) for turns, _ in self.memorised]


class RuntimeConformance:
    """Closed sets stay closed; decoding is greedy and stops at the end of the turn; nothing depends on neighbours or on
    what came before; likelihoods are positive, finite and complete; the model's own template is applied; two runtimes
    agree on one model. Needs a fixture `case` that gives a RuntimeCase."""

    def test_choose_stays_in_the_closed_set(self, case: RuntimeCase) -> None:
        prompts = case.prompts()
        said = case.runtime.choose(prompts, case.answers)
        assert len(said.texts) == len(prompts) and set(said.texts) <= set(case.answers)
        assert said.output_tokens == len(prompts) and said.prompt_tokens >= len(prompts)
        few = list(case.answers)[:2]
        assert set(case.runtime.choose(prompts, few).texts) <= set(few)
        assert case.runtime.choose(prompts, few[:1]).texts == few[:1] * len(prompts)

    def test_generate_is_greedy_and_stops(self, case: RuntimeCase) -> None:
        room = 4 * max(len(answer.encode()) for _, answer in case.memorised)
        said = case.runtime.generate(case.prompts(), room)
        assert [text.strip() for text in said.texts] == [answer for _, answer in case.memorised]
        assert said.output_tokens < room * len(case.memorised), "it went on after the end of the turn"

    def test_generate_keeps_to_max_tokens(self, case: RuntimeCase) -> None:
        prompts = case.prompts()
        said = case.runtime.generate(prompts, 1)
        assert said.output_tokens <= len(prompts)
        whole = case.runtime.generate(prompts, 64).texts
        assert all(text.startswith(first.rstrip("\ufffd")) for first, text in zip(said.texts, whole, strict=True))

    def test_neither_order_nor_history_matters(self, case: RuntimeCase) -> None:
        prompts, runtime = case.prompts(), case.runtime
        calls: list[Callable[[list[str]], list[Any]]] = [
            lambda p: runtime.choose(p, case.answers).texts,
            lambda p: runtime.generate(p, 8).texts,
        ]
        for call in calls:
            first = call(prompts)
            assert call(prompts) == first
            assert call(prompts[::-1]) == first[::-1]
            assert [call([p])[0] for p in prompts] == first
        assert runtime.choose([], case.answers).texts == []

    def test_likelihoods_are_complete(self, case: RuntimeCase) -> None:
        scores = case.runtime.score_texts(case.texts)
        for text, score in zip(case.texts, scores, strict=True):
            assert math.isfinite(score.nats) and score.nats > 0
            assert score.bytes == len(text.encode()) and 1 <= score.tokens <= score.bytes
            alone = case.runtime.score_texts([text])[0]
            assert alone.tokens == score.tokens and math.isclose(alone.nats, score.nats, rel_tol=1e-4)

    def test_render_applies_the_template(self, case: RuntimeCase) -> None:
        for turns, _ in case.memorised:
            text = case.runtime.render(turns)
            assert all(t["content"] in text for t in turns)
            assert text != "".join(t["content"] for t in turns), "nothing marks the end of the turn"

    def test_runtimes_agree(self, case: RuntimeCase) -> None:
        other = case.reference
        if other is None:
            return
        prompts = case.prompts()
        assert case.prompts(other) == prompts
        assert other.choose(prompts, case.answers).texts == case.runtime.choose(prompts, case.answers).texts
        ours, theirs = case.runtime.generate(prompts, 32), other.generate(prompts, 32)
        assert [t.strip() for t in ours.texts] == [t.strip() for t in theirs.texts]
        assert (ours.prompt_tokens, ours.output_tokens) == (theirs.prompt_tokens, theirs.output_tokens)
        for a, b in zip(case.runtime.score_texts(case.texts), other.score_texts(case.texts), strict=True):
            assert (a.tokens, a.bytes) == (b.tokens, b.bytes)
            assert math.isclose(a.nats, b.nats, rel_tol=0.01), f"{a.nats} and {b.nats} nats"


@dataclass(frozen=True)
class SensorCase:
    """A sensor whose source the test holds in its hands.

    spend: lets the source use so many watts for so many seconds of `clock`, which the sensor goes by too. vanish: takes
    the device away. reset: its counter starts anew (None where it has none). slack_joules: rounding of the source.
    """

    sensor: Sensor
    clock: Callable[[], float]
    spend: Callable[[float, float], None]
    vanish: Callable[[], None]
    reset: Callable[[], None] | None = None
    slack_joules: float = 0.02

    def joules(self) -> float:
        self.sensor.poll()
        return self.sensor.joules()


class SensorConformance:
    """It says what it is and what is wrong with it; it is cumulative, and never falls without the meter saying so;
    windows add up, whenever it is polled; a device that is gone leaves a figure without a value and a reason; nothing
    inside it is counted again. Needs a fixture `case` that gives a SensorCase."""

    WATTS = 50.0

    def test_it_says_what_it_is(self, case: SensorCase) -> None:
        sensor = case.sensor
        assert sensor.name and not any(c.isspace() for c in sensor.name) and sensor.name not in sensor.contains
        assert sensor.scope in ("chip", "board", "machine", "wall")
        assert sensor.flaws and all(flaw.strip().endswith(".") for flaw in sensor.flaws), "flaws are sentences"
        assert sensor.poll_seconds is None or sensor.poll_seconds > 0

    def test_it_counts_what_was_spent_and_never_falls(self, case: SensorCase) -> None:
        case.spend(1.0, self.WATTS)
        first = last = case.joules()
        spent = 0.0
        for seconds in (2.0, 0.0, 0.25, 30.0):
            case.spend(seconds, self.WATTS)
            spent, before, last = spent + seconds * self.WATTS, last, case.joules()
            assert math.isfinite(last) and last >= before
            assert abs(last - first - spent) <= case.slack_joules

    def test_windows_are_additive(self, case: SensorCase) -> None:
        case.spend(1.0, self.WATTS)
        outer, parts = self._windows(case, (3.0, 0.5, 7.25))
        assert all(part >= 0 for part in parts)
        assert abs(sum(parts) - outer) <= case.slack_joules and abs(outer - 10.75 * self.WATTS) <= case.slack_joules

    def test_polling_phase_does_not_matter(self, case: SensorCase) -> None:
        case.spend(1.0, self.WATTS)
        start = case.joules()
        case.spend(4.0, self.WATTS)
        middle = case.joules()
        for seconds in (0.01, 1.99, 0.7, 1.3):
            case.spend(seconds, self.WATTS)
            case.joules()
        assert abs((case.joules() - middle) - (middle - start)) <= case.slack_joules

    def test_a_vanished_device_gives_no_figure_and_says_why(self, case: SensorCase) -> None:
        with Meter([case.sensor], clock=case.clock).window("work") as window:
            case.spend(1.0, self.WATTS)
            case.vanish()
            case.sensor.poll()
        told = window.reading.by_sensor[case.sensor.name]
        assert told.value is None and window.reading.joules.value is None
        assert "did not answer (" in told.method and "()" not in told.method

    def test_a_reset_is_said(self, case: SensorCase) -> None:
        if case.reset is None:
            return
        case.spend(10.0, self.WATTS)
        with Meter([case.sensor], clock=case.clock).window("work") as window:
            case.spend(1.0, self.WATTS)
            window.so_far()
            case.reset()
        told = window.reading.by_sensor[case.sensor.name]
        assert told.value is not None and told.value >= 0 and "fell 1 time" in told.method

    def test_nothing_inside_it_is_counted_again(self, case: SensorCase) -> None:
        sensor = case.sensor

        def stand_in(name: str) -> Sensor:
            return ReplaySensor([(0.0, 0.0)], case.clock, name=name, scope=sensor.scope)

        inside = [stand_in(name.replace("*", "anything")) for name in sensor.contains]
        outside = [] if "*" in sensor.contains else [stand_in("elsewhere")]
        assert to_sum([sensor, *inside, *outside]) == to_sum([sensor, *outside]) == [sensor, *outside]

    def test_closing_twice_is_fine(self, case: SensorCase) -> None:
        case.sensor.close()
        case.sensor.close()

    def _windows(self, case: SensorCase, seconds: Sequence[float]) -> tuple[float, list[float]]:
        """Joules of a window, and of the neighbouring ones in it."""
        meter, name, parts = Meter([case.sensor], clock=case.clock), case.sensor.name, []
        with meter.window("outer") as outer:
            for piece in seconds:
                with meter.window("part") as part:
                    case.spend(piece, self.WATTS)
                    case.sensor.poll()
                parts.append(part.reading.by_sensor[name].value or 0.0)
        return outer.reading.by_sensor[name].value or 0.0, parts
