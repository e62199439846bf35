"""`export --to onnx`: an encoder as a graph, a tokenizer and a program, answered anew before they are handed over."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_task
from gguf import GGUFWriter
from samples_of_ngrams import random_file
from tiny_encoder import tiny_classifier

from lightbulb import api
from lightbulb.cli import main
from lightbulb.core.errors import MissingExtra, ModelError, RunFailure
from lightbulb.exporting import encoder as exporting
from lightbulb.exporting.record import RECORD, Export
from lightbulb.models.kinds.encoder_reading import read_encoder_file
from lightbulb.tasks.stored import write_task

TASK = tiny_task("choose")
FILES = {"model.onnx", "tokenizer.json", "classify.py", "README.md", RECORD}
HARD = [
    "Turn the kitchen lights off at 7:45, please.",
    "",
    "Où est la gare ? naïve CAFÉ façade",
    "東京 is far\tand late\u00a0...",
    "card " * 90,
    "x" * 150,
    "[CLS] is text [SEP] and so is [UNK]",
]


def libraries() -> None:
    for name in exporting.LIBRARIES:
        pytest.importorskip(name, reason="pip install 'lightbulb[onnx]'")


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a run that handed out an encoder."""
    (stored := tmp_path / "run" / "steps" / "task-0123").mkdir(parents=True)
    write_task(TASK, stored)
    tiny_classifier(tmp_path / "run" / "model.gguf", "q8_0", TASK.answers)
    return tmp_path / "run"


def by_program(folder: Path, texts: list[str]) -> np.ndarray:
    """The probabilities that the program in an export gives, all texts in one batch."""
    code = "import json, sys, classify; print(json.dumps(classify.probabilities(json.load(sys.stdin)).tolist()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, input=json.dumps(texts), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout))


@pytest.mark.parametrize("form", [{"pooling": "mean", "normalize": True}, {"pooling": "cls"}])
def test_it_computes_what_the_encoder_computes(form, tmp_path):
    """Padding, special tokens that stand in a text, and what is too long: all through the files that are shipped."""
    libraries()
    encoder = tiny_classifier(tmp_path / "model.gguf", "f32", TASK.answers, **form)
    record = api.export(tmp_path / "model.gguf", "onnx", tmp_path / "bank")
    assert (record.answers, record.layers, record.width, record.ngrams) == (5, 2, 64, None)
    np.testing.assert_allclose(np.log(by_program(tmp_path / "bank", HARD)), encoder.log_probs(HARD), atol=1e-4)


def test_a_run_becomes_files_that_were_scored_on_its_test_items(run, tmp_path, capsys):
    libraries()
    pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    outs = [tmp_path / where / "bank" for where in ("a", "b")]
    for out in outs:
        assert main(["export", str(run), "--to", "onnx", "--out", str(out)]) == 0
        assert {path.name for path in out.iterdir()} == FILES
    told = capsys.readouterr().out
    assert "takes token ids" in told and "where the model file has" in told and "0 answered otherwise" in told
    first, second = ({path.name: path.read_bytes() for path in out.iterdir()} for out in outs)
    assert first == second
    record = Export.model_validate_json((outs[0] / RECORD).read_text(encoding="utf-8"))
    assert record.checked.items == len(TASK.test) and record.checked.score == record.checked.source_score
    done = subprocess.run([sys.executable, str(outs[0] / "classify.py"), "a red card"], capture_output=True, text=True)
    assert done.stdout.strip().partition(" ")[2] in TASK.answers


def test_what_answers_otherwise_is_not_handed_over(run, tmp_path, monkeypatch):
    libraries()
    pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    sound = exporting.read_encoder_file

    def turned(path: Path):
        file = sound(path)
        head = {name: values[::-1] for name, values in file.weights.items() if name.startswith("cls.")}
        return replace(file, weights={**file.weights, **head})

    monkeypatch.setattr(exporting, "read_encoder_file", turned)
    with pytest.raises(RunFailure, match=r"the export answers \d+ of \d+ test items otherwise"):
        api.export(run, "onnx", tmp_path / "bank")
    assert not list(tmp_path.glob("*bank*"))


def test_what_is_worse_is_refused_and_what_differs_a_little_is_told():
    libraries()
    task = replace(TASK, test=tuple(TASK.test * 100))
    right = [e.completion for e in task.test]
    wrong = [task.answers[(task.answers.index(a) + 1) % 5] for a in right]
    few = len(right) * 5 // 1000
    checked = exporting.judged(task, wrong[:2] + right[2:], right)
    assert checked.differ == 2 and checked.score.value < checked.source_score.value == 1
    with pytest.raises(RunFailure, match="test items otherwise"):
        exporting.judged(task, wrong[: 3 * few] + right[3 * few :], right)


def test_a_file_has_no_test_items(run, tmp_path):
    libraries()
    checked = api.export(run / "model.gguf", "onnx", tmp_path / "bank").checked
    assert (checked.items, checked.score, checked.why_not) == (None, None, "there are no test items beside the file")


def test_n_grams_and_cascades_are_refused_with_what_to_do(tmp_path):
    random_file([e.prompt for e in TASK.train], list(TASK.answers)).write(tmp_path / "ngrams.gguf")
    writer = GGUFWriter(tmp_path / "cascade.gguf", "lightbulb-cascade")
    writer.add_tensor("stage.0", np.zeros(4, np.int8))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for name, hint in (("ngrams", "`to=c`"), ("cascade", "encoder-")):
        with pytest.raises(ModelError, match="is not exported to ONNX") as error:
            api.export(tmp_path / f"{name}.gguf", "onnx", tmp_path / "bank")
        assert hint in error.value.hint and not (tmp_path / "bank").exists()


def test_missing_libraries_are_told_with_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="onnx and onnxruntime, not installed here") as error:
        api.export(run, "onnx", tmp_path / "bank")
    assert error.value.hint == "pip install 'lightbulb[onnx]'" and not (tmp_path / "bank").exists()


def test_the_file_reads_back_as_the_encoder(tmp_path):
    encoder = tiny_classifier(tmp_path / "model.gguf", "f32", TASK.answers, normalize=True)
    file = read_encoder_file(tmp_path / "model.gguf")
    assert file.spec == replace(encoder.spec, epsilon=file.spec.epsilon) and file.form == encoder.form
    assert file.tokenizer == encoder.words.tokenizer
    weights = encoder.weights()
    for ours, name, _ in encoder.spec.entries():
        np.testing.assert_array_equal(file.weights[name], weights[ours].numpy())


def test_what_is_no_whole_encoder_is_refused(tmp_path):
    tiny_classifier(whole := tmp_path / "model.gguf", "f32", TASK.answers)
    data = whole.read_bytes()
    for name, other in ((b"lightbulb.answers", b"lightbulb.unknown"), (b"cls.output.bias", b"cls.output.wise")):
        (broken := tmp_path / "broken.gguf").write_bytes(data.replace(name, other))
        with pytest.raises(ModelError, match="no whole file of an encoder"):
            read_encoder_file(broken)
    (tmp_path / "short.gguf").write_bytes(data[:-100])
    with pytest.raises(ModelError):
        read_encoder_file(tmp_path / "short.gguf")
