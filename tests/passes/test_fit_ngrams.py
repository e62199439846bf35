"""From a task to a file of n-grams: what is learnt, left out, rounded and found wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import bare_run, tiny_task
from pydantic import ValidationError
from samples import SHARED

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError, RunFailure, TaskError
from lightbulb.core.facts_of_kinds import NgramFacts, NgramFileFacts
from lightbulb.models.kinds.ngram_model import NgramModel
from lightbulb.models.kinds.ngrams import NgramFile
from lightbulb.passes.classifiers import error_of, texts_and_labels, value_of
from lightbulb.passes.export_ngrams import ExportNgrams
from lightbulb.passes.fit_ngrams import FitNgrams
from lightbulb.passes.refit_ngrams import RefitNgrams
from lightbulb.passes.verify_classifier import VerifyClassifier, agreement
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Example, Task

IMPORTED = Artifact(path=Path("nowhere"), kind="model", key="imported", made_by="import")


def made(folder: Path, task: Task, fit: FitNgrams | None = None) -> tuple[Artifact, Artifact]:
    """The fitted weights and the file."""
    with bare_run(folder, task) as run:
        fitted = run.step("fitted", fit or FitNgrams(), IMPORTED)
        return fitted, run.step("file", ExportNgrams(), fitted)


def score(task: Task, probabilities: np.ndarray) -> float:
    return value_of(task, probabilities, texts_and_labels(task, "test")[1])


def test_a_task_is_learnt_and_its_file_is_small(tmp_path):
    task = tiny_task("choose", 400)
    fitted, file = made(tmp_path, task)
    facts, written = fitted.facts_as(NgramFacts), file.facts_as(NgramFileFacts)
    texts, _ = texts_and_labels(task, "test")
    assert score(task, NgramFile.read(file.gguf).probabilities(texts)) == 1.0
    assert facts.rows == written.rows == facts.looked_at and facts.held_out == "folds"
    assert written.bytes == file.gguf.stat().st_size == file.bytes


def test_the_last_weights_are_learnt_from_what_was_held_out_too(tmp_path):
    """An answer that only the validation split has is known afterwards; what was chosen stays."""
    task = tiny_task("choose", 400)
    word, answer = "lamp", "Lämpchen"
    moved = tuple(e for e in task.train if word in e.prompt)
    task = replace(
        task, train=tuple(e for e in task.train if e.completion != answer), validation=(*task.validation, *moved)
    )
    with bare_run(tmp_path, task) as run:
        chosen = run.step("chosen", FitNgrams(), IMPORTED)
        again = run.step("again", RefitNgrams(), chosen)
        files = [run.step(f"{name}-file", ExportNgrams(), a) for name, a in (("chosen", chosen), ("again", again))]
    before, after = (NgramFile.read(f.gguf).answers([f"one {word} two"])[0] for f in files)
    assert before != answer and after == answer
    assert again.facts_as(NgramFacts).saw_validation and not chosen.facts_as(NgramFacts).saw_validation
    assert again.facts_as(NgramFacts).temperature == chosen.facts_as(NgramFacts).temperature
    errors = [f.facts_as(NgramFileFacts).calibration_error for f in files]
    assert errors[0] is not None and errors[1] is None, "items that were learnt from tell nothing of its probabilities"


@pytest.mark.parametrize("within,shares", [(0.25, (0.5, 0.25, 0.125)), (0.25, (0.5, 0.003)), (0.0, (0.5,))])
def test_ngrams_are_left_out_while_the_validation_split_allows_it(tmp_path, within, shares):
    """Five words tell the answers: an eighth of the n-grams holds them, three do not."""
    task = tiny_task("choose", 3000)
    fitted, _ = made(tmp_path, task, FitNgrams(within=within, shares=shares, fewest_texts=5))
    facts = fitted.facts_as(NgramFacts)
    assert facts.held_out == "validation" and facts.score >= facts.whole_score - within * facts.score_error
    share = {(0.5, 0.25, 0.125): 0.125, (0.5, 0.003): 0.5, (0.5,): 1.0}[shares]
    assert facts.rows == round(share * facts.looked_at)


def test_every_split_but_test_may_be_looked_at(tmp_path):
    task = tiny_task("choose")
    other = replace(task, test=tuple(Example("another question", e.completion) for e in task.test))
    one, two = (made(tmp_path / name, t)[1] for name, t in (("one", task), ("two", other)))
    assert one.gguf.read_bytes() == two.gguf.read_bytes()


def noisy_task(n: int) -> Task:
    """Two answers, one of them rare, which words tell only mostly."""
    rng = random.Random(0)
    rows = []
    for i in range(n):
        rare = rng.random() < 0.1
        word = "bad" if rng.random() < (0.7 if rare else 0.15) else "good"
        rows.append(Example(f"{word} text number{i} {rng.choice('abcdef')}", "rare" if rare else "usual"))
    a, b = n * 7 // 10, n * 85 // 100
    return Task("noisy", "choose", "macro-f1", tuple(rows[:a]), tuple(rows[a:b]), tuple(rows[b:]), ("rare", "usual"))


def test_the_metric_decides_whether_answers_are_shifted(tmp_path):
    """Where both answers count alike, the rare one is said more often, in the file and when it is learnt again."""
    task = noisy_task(1000)
    texts, _ = texts_and_labels(task, "test")

    def said(folder: str, metric: str) -> tuple[NgramFacts, list[int]]:
        with bare_run(tmp_path / folder, replace(task, metric=metric)) as run:
            fitted = run.step("fitted", FitNgrams(), IMPORTED)
            again = run.step("again", RefitNgrams(), fitted)
            files = [run.step(f"{n}-file", ExportNgrams(), a) for n, a in (("fitted", fitted), ("again", again))]
            return fitted.facts_as(NgramFacts), [NgramFile.read(f.gguf).answers(texts).count("rare") for f in files]

    (shifted, often), (plain, seldom) = said("macro", "macro-f1"), said("accuracy", "accuracy")
    assert not plain.shift and shifted.shift[0] > 0 > shifted.shift[1] and sum(shifted.shift) == pytest.approx(0)
    assert shifted.held_out == "folds", "one answer is too rare in validation"
    assert min(often) > max(seldom)


def test_characters_are_looked_at_where_they_help(tmp_path):
    """They tell endings of words that come but once; beside many such words they hide the one that tells."""
    rng = random.Random(0)

    def rows(n: int, ending: bool) -> tuple[Example, ...]:
        made = []
        for i in range(n):
            stems = ["".join(rng.choices("bcdfgklmnprst", k=7)) for _ in range(1 if ending else 40)]
            told = ("ously", "ation")[i % 2] if ending else (" no", " yes")[i % 2]
            made.append(Example(" ".join(stems) + told, "ab"[i % 2]))
        return tuple(made)

    for ending in (True, False):
        task = Task("t", "choose", "accuracy", rows(300, ending), rows(60, ending), rows(60, ending), ("a", "b"))
        facts = made(tmp_path / str(ending), task)[0].facts_as(NgramFacts)
        assert facts.score > 0.95 and facts.chars == ((2, 5) if ending else (0, 0))


def test_probabilities_mean_what_they_say(tmp_path):
    """On items that nothing was decided by."""
    task = noisy_task(6000)
    fitted, file = made(tmp_path, replace(task, metric="accuracy"))
    texts, labels = texts_and_labels(task, "test")
    probabilities = NgramFile.read(file.gguf).probabilities(texts)
    said, right = probabilities.max(axis=1).mean(), (probabilities.argmax(axis=1) == labels).mean()
    assert said == pytest.approx(right, abs=0.04)
    assert fitted.facts_as(NgramFacts).calibration_error < 0.05
    assert file.facts_as(NgramFileFacts).calibration_error < 0.05


def test_a_task_without_ngrams_in_common_is_refused(tmp_path):
    rows = tuple(Example(chr(0x4E00 + i), "ab"[i % 2]) for i in range(20))
    task = Task("odd", "choose", "accuracy", rows, rows[:4], rows[:4], ("a", "b"))
    with pytest.raises(TaskError, match="no n-gram"):
        made(tmp_path, task, FitNgrams(chars=(0, 0)))


def test_a_task_that_is_written_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="generate"):
        made(tmp_path, tiny_task("generate"))


@pytest.mark.parametrize("wrong", [{"words": (2, 1)}, {"chars": (2, 9)}, {"words": (0, 0), "chars": (0, 0)}])
def test_impossible_lengths_are_refused(wrong):
    with pytest.raises(ValidationError, match="n-grams"):
        FitNgrams(**wrong)


def test_values_and_errors_are_those_of_the_metrics():
    from lightbulb.tasks.metrics import score as with_interval

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 2)), rng.integers(0, 2, 200)
    for metric in ("accuracy", "macro-f1"):
        task = replace(noisy_task(20), metric=metric)
        names = [task.answers[i] for i in logits.argmax(axis=1)], [task.answers[i] for i in labels]
        figure = with_interval(metric, *names)
        assert value_of(task, logits, labels) == pytest.approx(figure.value)
        assert error_of(task, logits, labels) == pytest.approx((figure.high - figure.low) / 3.92, rel=1e-3)


def test_agreement_counts_answers_and_measures_what_the_file_says():
    trained = np.log([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    facts = agreement(trained, [0, 0, 0], np.array([0.5, 0.9, 0.4]))
    assert (facts["prompts"], facts["same_answer"]) == (3, pytest.approx(2 / 3))
    assert facts["max_log_prob_difference"] == pytest.approx(np.log(2))
    assert facts["mean_log_prob_difference"] == pytest.approx(np.log(2) / 3)


def test_a_file_is_verified_in_its_runtime_and_another_is_refused(tmp_path, classifier):
    task = tiny_task("choose", 400)
    with bare_run(tmp_path / "run", task) as run:
        fitted = run.step("fitted", FitNgrams(), IMPORTED)
        file = run.step("file", ExportNgrams(), fitted)
        facts = run.step("verify", VerifyClassifier(prompts=32), file, {"model": fitted}).facts
        assert facts["same_answer"] == 1.0 and facts["max_log_prob_difference"] < 0.05 and facts["prompts"] == 32
        model = NgramModel.read(fitted.path)
        wrong = replace(model, rows=model.rows[:, ::-1])
        wrong.rounded().write(tmp_path / "wrong" / "model.gguf")
        other = file.model_copy(update={"path": tmp_path / "wrong", "key": "wrong"})
        with pytest.raises(RunFailure, match="does not agree"):
            run.step("wrong", VerifyClassifier(), other, {"model": fitted})


@pytest.mark.slow
@pytest.mark.parametrize("name,least,most_bytes", [("banking77", 0.90, 1_000_000), ("unfair_tos", 0.82, 400_000)])
def test_published_tasks(tmp_path, name, least, most_bytes):
    if not (SHARED / "data" / name).exists():
        pytest.skip(f"../shared/data/{name} is not beside this checkout")
    task = load_task(str(SHARED / "data" / name))
    fitted, file = made(tmp_path, task)
    texts, _ = texts_and_labels(task, "test")
    model, shipped = NgramModel.read(fitted.path), NgramFile.read(file.gguf)
    assert score(task, shipped.probabilities(texts)) >= least and file.bytes <= most_bytes
    same = model.log_probs(texts).argmax(axis=1) == shipped.probabilities(texts).argmax(axis=1)
    assert same.mean() > 0.998


@pytest.fixture
def classifier() -> None:
    """filament's classifiers, where they are built."""
    filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    if not hasattr(filament, "Classifier"):
        pytest.skip("this filament has no classifiers yet: make filament")
