"""The Trainer's callback: joules in the logs, a row at the end. With the Trainer's own handler, and no model."""

from __future__ import annotations

import csv

import pytest

pytest.importorskip("transformers")

from test_standalone import Dial
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler, TrainerCallback

from lightbulb.core.errors import UserError
from lightbulb.energy import standalone
from lightbulb.energy.callback import EnergyCallback
from lightbulb.energy.meter import Meter


class Training:
    """Calls callbacks as the Trainer does, state and all."""

    def __init__(self, output_dir, *callbacks: TrainerCallback):
        self.args = TrainingArguments(output_dir=str(output_dir), report_to=[], use_cpu=True)
        self.state, self.control = TrainerState(), TrainerControl()
        self.handler = CallbackHandler(list(callbacks), None, None, None, None)

    def begin(self) -> None:
        self.handler.on_train_begin(self.args, self.state, self.control)

    def log(self, **logs: float) -> dict[str, float]:
        self.state.log_history.append({**logs, "step": self.state.global_step})
        self.handler.on_log(self.args, self.state, self.control, logs)
        return logs

    def end(self) -> None:
        self.handler.on_train_end(self.args, self.state, self.control)


@pytest.fixture
def dial(monkeypatch) -> Dial:
    dial = Dial()
    monkeypatch.setattr(standalone, "Meter", lambda: Meter([dial]))
    return dial


def rows(path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def test_joules_are_in_the_logs_and_a_row_is_written(dial, tmp_path, capsys):
    energy = EnergyCallback(zone="FRA")
    training = Training(tmp_path, energy)
    assert energy.metered is None and "joules" not in training.log(loss=3.0)  # nothing runs yet
    training.begin()
    dial.raw += 1800.0
    first = training.log(loss=2.0)
    dial.raw += 1800.0
    training.log(loss=1.0)
    training.end()
    assert (first["loss"], first["joules"]) == (2.0, 1800.0) and first["cpu_seconds"] >= 0
    assert [entry.get("joules") for entry in training.state.log_history] == [None, 1800.0, 3600.0]
    (row,) = rows(tmp_path / "emissions.csv")
    assert (row["project_name"], float(row["energy_consumed"]), row["country_iso_code"]) == ("training", 0.001, "FRA")
    assert energy.metered.joules.value == 3600.0 and dial.closed
    assert capsys.readouterr().err.startswith("training: 3,600 J")
    dial.raw += 9.0
    assert "joules" not in training.log(eval_loss=1.0)  # an evaluation after the training is not a part of it


def test_an_estimate_is_logged_with_its_interval(monkeypatch, tmp_path):
    monkeypatch.setattr(standalone, "Meter", lambda: Meter([], threads=2))
    training = Training(tmp_path, EnergyCallback(quiet=True))
    training.begin()
    logs = training.log(loss=1.0)
    training.end()
    assert logs["joules_low"] < logs["joules"] < logs["joules_high"]


def test_a_sensor_that_is_gone_leaves_no_joules_in_the_logs(dial, tmp_path):
    training = Training(tmp_path, EnergyCallback(quiet=True, csv=tmp_path / "mine.csv"))
    training.begin()
    dial.raw = float("nan")
    logs = training.log(loss=1.0)
    training.end()
    assert set(logs) == {"loss", "cpu_seconds"}
    assert rows(tmp_path / "mine.csv")[0]["energy_consumed"] == "" and not (tmp_path / "emissions.csv").exists()


def test_only_the_first_process_of_a_machine_measures(dial, tmp_path):
    training = Training(tmp_path, EnergyCallback(quiet=True))
    training.state.is_local_process_zero = False
    training.begin()
    assert "joules" not in training.log(loss=1.0)
    training.end()
    assert not (tmp_path / "emissions.csv").exists()


def test_a_training_after_one_that_raised_starts_from_nothing(dial, tmp_path, capsys):
    training = Training(tmp_path, EnergyCallback())
    training.begin()
    dial.raw += 3600.0  # and then it raised: no on_train_end
    training.begin()
    assert dial.closed
    dial.raw += 7200.0
    training.end()
    training.end()
    (row,) = rows(tmp_path / "emissions.csv")
    assert float(row["energy_consumed"]) == pytest.approx(0.002)
    assert capsys.readouterr().err.count("training: ") == 1


def test_bad_arguments_stop_the_training_at_its_beginning(dial, tmp_path):
    with pytest.raises(UserError, match="Atlantis"):
        Training(tmp_path, EnergyCallback(zone="Atlantis")).begin()
