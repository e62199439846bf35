"""Temperature and threshold: chosen on validation, written into a file of which nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import bare_run, tiny_task
from scipy.stats import binomtest

from lightbulb.core.errors import ModelError, RecipeError
from lightbulb.core.facts_of_kinds import CalibrationFacts
from lightbulb.formats.gguf.header import read_header
from lightbulb.formats.gguf.keys import with_keys
from lightbulb.models.abstention import abstention_of
from lightbulb.ops.abstaining import (
    Stages,
    Sureness,
    precision_at,
    share_given,
    threshold_for_coverage,
    threshold_for_precision,
    wilson,
)
from lightbulb.passes import pass_class
from lightbulb.passes.calibrate import Calibrate
from lightbulb.passes.evaluate import Evaluate
from lightbulb.runtimes import open_gguf
from lightbulb.tasks.task import Example, Outside

RNG = np.random.default_rng(0)


def drawn(n: int, m: int, share: float) -> Sureness:
    """Of a model whose probabilities are true."""
    inside = (1 / (1 + np.exp(-RNG.normal(2.5, 2, n)))).astype(np.float32)
    outside = (1 / (1 + np.exp(-RNG.normal(-0.5, 1.3, m)))).astype(np.float32)
    return Sureness(inside, RNG.random(n) < inside, outside, share)


def test_intervals_are_wilson_s():
    for right, n in ((0, 5), (5, 5), (70, 100), (1, 1000)):
        expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
        assert wilson(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_precision_and_coverage_are_counted():
    sure = Sureness(np.float32([0.2, 0.5, 0.7, 0.9]), np.array([True, False, True, True]), np.float32([0.3, 0.8]), 0.2)
    assert sure.weight == pytest.approx(0.25 * 4 / 2)
    assert precision_at(sure, 0.0).value == pytest.approx(3 / (4 + 2 * 0.5))
    assert precision_at(sure, 0.7).value == pytest.approx(2 / (2 + 1 * 0.5))
    assert precision_at(sure, 0.95) is None
    assert share_given(sure.inside_N, 0.5).value == 0.75 and share_given(np.float32([]), 0.5) is None
    without = replace(sure, outside_M=np.float32([]))
    assert precision_at(without, 0.6).value == 1.0 and precision_at(without, 0.6).low < 0.5


@pytest.mark.parametrize("asked, m, share", [(0.9, 0, 0.0), (0.9, 100, 0.15), (0.95, 0, 0.0), (0.95, 300, 0.3)])
def test_a_precision_holds_on_other_questions(asked, m, share):
    """Where validation could show it: in far more than nineteen of twenty, and most of what can be answered is."""
    others, held, given = drawn(100_000, 20_000, share), [], []
    for _ in range(60):
        sure = drawn(1000, m, share)
        threshold = threshold_for_precision(sure, asked)
        if precision_at(sure, threshold).low >= asked:
            held.append(precision_at(others if m else replace(others, outside_M=np.float32([])), threshold).value)
            given.append(share_given(others.inside_N, threshold).value)
    assert len(held) > 30 and np.mean(np.array(held) < asked) <= 0.1 and np.mean(given) > 0.3


def test_a_precision_that_cannot_be_shown_gives_the_surest():
    few = Sureness(np.float32([0.4, 0.6, 0.8]), np.array([False, True, True]), np.float32([]))
    threshold = threshold_for_precision(few, 0.99)
    assert threshold == pytest.approx(0.6) and precision_at(few, threshold).low < 0.99


def test_a_coverage_holds():
    sure = drawn(1000, 0, 0.0)
    threshold = threshold_for_coverage(sure, 0.8)
    assert share_given(sure.inside_N, threshold).low >= 0.8
    higher = np.nextafter(np.float32(threshold), np.float32(1))
    above = sure.inside_N[sure.inside_N >= higher].min()
    assert share_given(sure.inside_N, float(above)).low < 0.8
    assert threshold_for_coverage(drawn(3, 0, 0.0), 0.9) == 0


def two_stages(n: int, m: int, share: float) -> Stages:
    """Of two models whose probabilities are true, and which err apart from each other."""
    first, last = drawn(n, m, share), drawn(n, m, share)
    inside, right = np.stack([first.inside_N, last.inside_N]), np.stack([first.right_N, last.right_N])
    return Stages(inside, right, np.stack([first.outside_M, last.outside_M]), (0.7,), share)


def test_stages_hand_on_what_they_would_leave_out():
    stages = two_stages(200, 40, 0.2)
    assert stages.raised(0.9) == (pytest.approx(0.9),) and stages.raised(0.4) == (pytest.approx(0.7),)
    for threshold in (0.0, 0.8, 0.99):
        least, at = max(0.7, threshold), stages.at(threshold)
        for n, (first, last) in enumerate(stages.inside_SN.T):
            stage = 0 if first >= np.float32(least) else 1
            assert at.inside_N[n] == (first, last)[stage] and at.right_N[n] == stages.right_SN[stage, n]
        assert at.outside_M.tolist() == [a if a >= np.float32(least) else b for a, b in stages.outside_SM.T]
        shares = stages.shares(threshold)
        assert sum(shares) == pytest.approx(1) and shares[0] == np.mean(stages.inside_SN[0] >= np.float32(least))
    alone = Sureness(stages.inside_SN[0], stages.right_SN[0], stages.outside_SM[0], stages.share)
    for of, asked in ((threshold_for_precision, 0.9), (threshold_for_coverage, 0.7)):
        one = replace(stages, inside_SN=stages.inside_SN[:1], right_SN=stages.right_SN[:1], thresholds=())
        one = replace(one, outside_SM=stages.outside_SM[:1])
        assert of(one, asked) == pytest.approx(of(alone, asked), abs=0.02), "of one stage: as a file by itself"


def test_a_precision_of_stages_holds_on_other_questions():
    others, held, more = two_stages(50_000, 10_000, 0.2), [], []
    for _ in range(20):
        stages = two_stages(1000, 150, 0.2)
        threshold = threshold_for_precision(stages, 0.9)
        at = stages.at(threshold)
        assert precision_at(at, threshold).low >= 0.9
        held.append(precision_at(others.at(threshold), threshold).value)
        first = Sureness(stages.inside_SN[0], stages.right_SN[0], stages.outside_SM[0], 0.2)
        more.append(
            share_given(at.inside_N, threshold).value
            - share_given(first.inside_N, threshold_for_precision(first, 0.9)).value
        )
    assert np.mean(np.array(held) < 0.9) <= 0.1 and np.mean(more) > 0.05, "two answer more than the first alone"
    threshold = threshold_for_coverage(stages, 0.8)
    assert (
        share_given(stages.at(threshold).inside_N, threshold).low >= 0.8 > 0.7 > share_given(first.inside_N, 0.95).low
    )


@pytest.fixture(scope="module")
def run(imported, tmp_path_factory):
    task = tiny_task("choose")
    none = tuple(Example(f"the weather is {n}", "oos") for n in range(12))
    task = replace(task, outside=Outside("oos", none[:6], none[6:], 0.2, 0.2))
    with bare_run(tmp_path_factory.mktemp("run"), task) as run:
        yield run


@pytest.fixture(scope="module")
def file(run, imported):
    formatted = run.step("formatted", pass_class("format-task")(), imported)
    return run.step("gguf", pass_class("export")(quant_type="f16"), formatted)


def test_a_language_model_tells_probabilities_that_fit_validation(run, file):
    made = run.step("calibrated", Calibrate(), file)
    facts, task = made.facts_as(CalibrationFacts), run.task
    assert facts.nats_after <= facts.nats_before + 0.02 and facts.abstention is None and facts.parameters > 0
    plain, told = open_gguf(file.gguf, threads=1), open_gguf(made.gguf, threads=1)
    prompts = [plain.render([{"role": "user", "content": e.prompt}]) for e in task.test]
    before, after = plain.answer(prompts, task.answers), told.answer(prompts, task.answers)
    scores = told.score_answers(prompts, task.answers)
    plain.close()
    told.close()
    assert before.probabilities is None and before.texts == after.texts
    likely = np.exp(scores / told.info.temperature)
    assert after.probabilities == pytest.approx((likely / likely.sum(axis=1, keepdims=True)).max(axis=1), rel=1e-5)


def test_a_threshold_is_written_and_its_effect_on_test_told(run, file):
    made = run.step("threshold", Calibrate(coverage=0.5), file)
    facts, fields = made.facts_as(CalibrationFacts), read_header(made.gguf).fields
    assert abstention_of(fields, made.gguf).none == "oos"
    assert facts.abstention.threshold == fields["lightbulb.threshold"] > 0 and facts.abstention.outside == 6
    before, after = read_header(file.gguf), read_header(made.gguf)
    assert {k: v for k, v in after.fields.items() if k in before.fields} == before.fields
    assert [(t.name, t.shape, t.bytes) for t in after.tensors] == [(t.name, t.shape, t.bytes) for t in before.tensors]
    assert file.gguf.read_bytes()[before.tensors[0].start :] == made.gguf.read_bytes()[after.tensors[0].start :]
    tested = run.step("tested", Evaluate(), made).facts["abstention"]
    assert tested["items"] == len(run.task.test) and tested["outside"] == 6 and tested["recall"]["value"] is not None
    assert "abstention" not in run.step("plain", Evaluate(), file).facts


def test_only_the_last_stage_of_a_cascade_leaves_out(run, imported):
    pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    files = []
    for name, ngrams in (("words", {"words": (1, 1), "chars": (0, 0)}), ("both", {})):
        fitted = run.step(name, pass_class("fit-ngrams")(fewest_texts=1, **ngrams), imported)
        files.append(run.step(f"{name}-gguf", pass_class("export-ngrams")(), fitted))
    cascade = run.step("cascade", pass_class("cascade")(give_up=0.9), files[0], {"then": files[1]})
    made = run.step("cascade-threshold", Calibrate(coverage=0.2), cascade)
    facts, fields, before = made.facts_as(CalibrationFacts), read_header(made.gguf).fields, read_header(cascade.gguf)
    threshold = facts.abstention.threshold
    assert fields["cascade.thresholds"] == made.facts["thresholds"] == [pytest.approx(threshold)]
    assert before.fields["cascade.thresholds"][0] < threshold, "else nothing had to be raised"
    task, told = run.task, []
    for file in (*files, made):
        runtime = open_gguf(file.gguf, threads=1)
        told.append(runtime.answer([e.prompt for e in task.validation], task.answers).probabilities)
        runtime.close()
    assert list(told[2]) == [a if a >= threshold else b for a, b in zip(*told[:2], strict=True)]
    assert facts.abstention.coverage.value == np.mean(np.array(told[2]) >= threshold)


def test_keys_are_replaced_not_doubled(run, file, tmp_path):
    with_keys(file.gguf, tmp_path / "a.gguf", {"lightbulb.threshold": 0.25, "lightbulb.none": "é"})
    with_keys(tmp_path / "a.gguf", tmp_path / "b.gguf", {"lightbulb.none": "none", "lightbulb.threshold": 0.25})
    fields = read_header(tmp_path / "b.gguf").fields
    assert (fields["lightbulb.threshold"], fields["lightbulb.none"]) == (0.25, "none")
    assert len(fields) == len(read_header(file.gguf).fields) + 2


@pytest.mark.parametrize(
    "keys", [{"lightbulb.threshold": 1.5}, {"lightbulb.threshold": float("nan")}, {"lightbulb.temperature": 0.0}]
)
def test_keys_that_make_no_sense_are_refused(file, tmp_path, keys):
    with_keys(file.gguf, tmp_path / "a.gguf", keys)
    with pytest.raises(ModelError, match=next(iter(keys))) as refused:
        open_gguf(tmp_path / "a.gguf", threads=1)
    assert refused.value.hint


def test_what_cannot_be_is_refused(run, file):
    with pytest.raises(ValueError, match="not both"):
        Calibrate(precision=0.9, coverage=0.9)
    written = replace(run.task, kind="generate", outside=None)
    with pytest.raises(RecipeError, match="only what chooses is calibrated"):
        Calibrate().apply(file, file.path, type("Context", (), {"task": written}))
