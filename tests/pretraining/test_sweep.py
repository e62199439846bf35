"""A sweep is one command: every size with every rate, found again when it is repeated, told as a table and a page."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_pretraining import GOAL, text_task

from lightbulb import api
from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json
from lightbulb.pretraining.record import TrainingRecord
from lightbulb.pretraining.sweep import goals_of
from lightbulb.report.sweep import loss_against, rows_of


def test_every_size_with_every_rate() -> None:
    open_ = GOAL.model_copy(update={"layers": None})
    goals = goals_of(open_, [2e6, 5e6], [1e-3, 4e-3])
    assert list(goals) == ["2m-0.001", "2m-0.004", "5m-0.001", "5m-0.004"]
    assert {(g.size, g.rate) for g in goals.values()} == {(2e6, 1e-3), (2e6, 4e-3), (5e6, 1e-3), (5e6, 4e-3)}
    assert list(goals_of(GOAL, [], [])) == ["5m-0.004"]
    with pytest.raises(UserError, match="twice"):
        goals_of(open_, [], [1e-3, 1e-3])
    with pytest.raises(UserError, match="decide"):
        goals_of(GOAL, [2e6, 5e6], [])


def test_a_sweep_resumes_and_ends_with_its_page(tmp_path: Path) -> None:
    goals = goals_of(GOAL.model_copy(update={"tokens": 600.0}), [], [1e-3, 4e-3])
    first = api.train(text_task(), goals["5m-0.001"], tmp_path / "5m-0.001", quiet=True)
    records = api.sweep(text_task(), goals, tmp_path, quiet=True)
    assert records[0] == first and records[1].goal.rate == 4e-3
    assert [TrainingRecord.model_validate(each) for each in read_json(tmp_path / "sweep.json")] == records
    page = (tmp_path / "sweep.html").read_text()
    for record, row in zip(records, rows_of(records), strict=True):
        assert f"{record.train_loss:.3f}" in page and f"{record.goal.rate:g}" in row
    assert sum(" *" in row[3] for row in rows_of(records)) == 1


def test_a_curve_ends_where_its_joules_do(tmp_path: Path) -> None:
    record = api.train(text_task(), GOAL.model_copy(update={"tokens": 600.0}), tmp_path / "run", quiet=True)
    for joules, title in ((12.5, "joules"), (None, "seconds")):
        cost = record.training.model_copy(update={"joules": Figure(value=joules, unit="J"), "seconds": 99.5})
        plot = loss_against([record.model_copy(update={"training": cost})])
        assert f"{12.5 if joules else 99.5}]" in plot and title in plot
