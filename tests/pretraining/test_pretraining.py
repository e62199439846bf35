"""From text to a model: one command for all architectures, resumable, and what it says is so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_task
from tiny import TEXT

from lightbulb import api
from lightbulb.core.errors import UserError
from lightbulb.core.events import EVENTS
from lightbulb.core.figures import Figure
from lightbulb.formats.gguf.header import read_architecture
from lightbulb.models.bpe import END, train_tokenizer
from lightbulb.models.gguf_info import read_gguf
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.pipeline.decisions import Decisions, EnergyBudget
from lightbulb.pipeline.ledger import Cost
from lightbulb.pretraining.goal import TrainingGoal
from lightbulb.pretraining.record import TrainingRecord, curve
from lightbulb.pretraining.shape import layer_parameters, parameters_of, shape_of_size, spec_for
from lightbulb.tasks.task import Example, Task
from lightbulb.train.pretraining import Pretraining, begin_of, packed, positions_of

GOAL = TrainingGoal(
    layers=1, width=256, feed_forward=256, context=32, vocabulary=320, tokens=4000, batch_tokens=128, threads=1
)


def text_task() -> Task:
    """The sentences of TEXT, in several orders."""
    lines = TEXT.splitlines()
    texts = ["\n".join(lines[n % 6 :] + lines[: n % 6])[: 200 + 7 * n] for n in range(12)]
    split = [tuple(Example("", text) for text in part) for part in (texts[:8], texts[8:10], texts[10:])]
    return replace(tiny_task("text"), name="lines", train=split[0], validation=split[1], test=split[2])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingRecord]:
    out = tmp_path_factory.mktemp("train") / "run"
    return out, api.train(text_task(), GOAL, out, quiet=True)


def test_a_run_leaves_a_model_its_file_and_a_record(trained: tuple[Path, TrainingRecord]) -> None:
    out, record = trained
    assert record == TrainingRecord.read(out / "training.json")
    assert record.losses[0][1] > 5 > record.train_loss + 1, "nothing was learned"
    assert record.score.value is not None and record.score.value < 4  # bits of a byte, of text in the same words
    assert record.tokens == record.steps * 128 >= 4000
    model = load_model(out / "model")
    assert model.config.model_type == "matmulfree" and record.parameters == sum(p.numel() for p in model.parameters())
    assert read_architecture(out / "model.gguf") == "matmulfree"
    assert read_gguf(out / "model.gguf").vocabulary == record.vocabulary
    assert record.training.joules.value is None or record.joules_per_token.value == pytest.approx(
        record.training.joules.value / record.tokens
    )
    told = [json.loads(line) for line in (out / EVENTS).read_text().splitlines()]
    assert {"step.finished", "work.finished"} <= {event["kind"] for event in told}
    assert any(event.get("note", "").startswith("loss ") for event in told)


def test_the_same_again_is_found_done_and_another_is_refused(trained: tuple[Path, TrainingRecord]) -> None:
    out, record = trained
    assert api.train(text_task(), GOAL, out, quiet=True) == record
    with pytest.raises(UserError, match="another run"):
        api.train(text_task(), GOAL.model_copy(update={"tokens": 5000.0}), out, quiet=True)


@pytest.mark.parametrize("architecture", ["hybrid", "transformer"])
def test_other_architectures_of_the_same_size(
    architecture: str, trained: tuple[Path, TrainingRecord], tmp_path: Path
) -> None:
    source = str(trained[0] / "model")  # the tokenizer, too
    goal = GOAL.model_copy(update={"architecture": architecture, "tokens": 1000.0, "tokenizer": source})
    record = api.train(text_task(), goal, tmp_path / "run", quiet=True)
    assert abs(record.parameters / trained[1].parameters - 1) < 0.02
    assert record.vocabulary == trained[1].vocabulary and record.losses[0][1] > record.train_loss
    kinds = {"hybrid": "bitnet", "transformer": "llama"}  # the only layer of this hybrid attends
    assert read_architecture(tmp_path / "run" / "model.gguf") == kinds[architecture]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"width": 300}, "multiple of 256"),
        ({"layers": 0}, "between 1 and"),
        ({"context": 4}, "8 or more"),
        ({"vocabulary": 10}, "300 or more"),
        ({"batch_tokens": 31}, "32 or more"),
        ({"drop": 1.5}, "at most 1"),
        ({"tokens": -1.0}, "above 0"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(
    changes: dict[str, float], what: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=what):
        api.train(text_task(), GOAL.model_copy(update=changes), tmp_path / "run", quiet=True)
    with pytest.raises(UserError, match="trained from text"):
        api.train(tiny_task("choose"), GOAL, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_sizes_are_met_and_equal_for_all_architectures() -> None:
    for text, asked in (("5m", 5e6), ("370M", 370e6), ("1.3b", 1.3e9)):
        assert parameters_of(text) == asked
        shape = shape_of_size(asked, 4096)
        assert abs(4096 * shape.width + shape.layers * layer_parameters(shape) - asked) < 0.15 * asked
        counts = [spec_for(name, shape, 4096, 512).parameters() for name in ("matmulfree", "hybrid", "transformer")]
        assert max(counts) < 1.02 * min(counts)
    with pytest.raises(UserError, match="number of parameters"):
        parameters_of("many")


def test_rows_hold_every_document_between_its_ends(tmp_path: Path) -> None:
    texts = ["Turn the lights off.", "Lock the front door, please.", "What's the weather like?"]
    train_tokenizer(TEXT.splitlines(), 320, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    begin = begin_of(tokenizer)
    assert tokenizer.decode([begin]) == END and tokenizer("x").input_ids[0] == begin
    rows = packed(texts, tokenizer, 8)
    stream = [*rows[0].ids, *(i for row in rows[1:] for i in row.ids[1:])]
    assert tokenizer.decode(stream) == END + END.join(texts) + END
    assert all(row.ids[-1] == after.ids[0] for row, after in zip(rows, rows[1:], strict=False))
    ids = torch.tensor([[5, 6, begin, 7, 8, begin, begin, 9]])
    assert positions_of(ids, begin).tolist() == [[0, 1, 0, 1, 2, 0, 0, 1]]


def test_the_learning_rate_warms_up_drops_and_ends_at_nothing() -> None:
    plain = Pretraining(epochs=1, learning_rate=1.0, batch_size=1, decay="linear")
    dropped = plain.model_copy(update={"drop": 0.5})
    rates = [plain.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and max(rates) == rates[4] and rates[50] == pytest.approx(0.5)
    assert [dropped.rate(step, 100) for step in (49, 50, 80)] == pytest.approx([0.51, 0.25, 0.1])
    assert plain.cut(10, 20).rate(15, 100) == pytest.approx(1 - 0.55)


def test_joules_are_rationed_at_the_power_so_far(tmp_path: Path) -> None:
    def cost(seconds: float, joules: float | None) -> Cost:
        figure = Figure(value=joules, unit="J")
        return Cost(seconds=seconds, cpu_seconds=Figure(value=seconds, unit="s"), joules=figure)

    spent = [cost(10.0, 50.0)]
    budget = EnergyBudget(200.0, lambda: spent[0], 100.0, Decisions(tmp_path / "clock.json"), "x")
    assert budget.left() == pytest.approx(30.0)  # 150 J at 5 W
    spent[0] = cost(90.0, 100.0)
    assert budget.left() == pytest.approx(10.0)
    spent[0] = cost(40.0, None)
    assert budget.left() == pytest.approx(60.0)


def test_a_curve_has_few_points_and_ends_at_the_last_step() -> None:
    assert curve([3.0, 1.0]) == ((1, 3.0), (2, 1.0))
    found = curve([float(n) for n in range(1001)])
    assert len(found) <= 200 and found[-1][0] == 1001 and found[0] == (6, 2.5)
