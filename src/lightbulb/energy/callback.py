"""The meter as a callback of the transformers Trainer:

    trainer = Trainer(..., callbacks=[lightbulb.EnergyCallback(zone="FRA")])

Like `standalone.meter`, a door for other people's code: lightbulb's own passes are measured by the run loop.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

# At the top, because the class needs its base: this module is imported by those who train with transformers.
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lightbulb.energy.standalone import Metered

__all__ = ["EnergyCallback"]


class EnergyCallback(TrainerCallback):
    """Joules and CPU seconds so far in every log of the training, a summary and a row of emissions.csv at its end.

    Logged are `joules` with `joules_low` and `joules_high` where it is an interval, and `cpu_seconds`, also into
    trainer_state.json; what was not measured is left out. Evaluation within the training counts. Reporters of
    `report_to` run before callbacks that are passed in; for one of these to see the joules, put this one first:
    `trainer.callback_handler.callbacks.insert(0, EnergyCallback())`.

    With several processes on a machine, the first measures: its counters see the whole machine, its CPU seconds and
    estimates only its own process. A training that raises leaves neither summary nor row; wrap `trainer.train()` in
    `with lightbulb.meter():` where that matters.

    Args:
        name: as for `lightbulb.meter`
        zone: likewise
        pue: likewise
        csv: the row's file; None is emissions.csv in the output folder
        quiet: as for `lightbulb.meter`

    Attributes:
        metered: has the figures, while the training runs and after it; None before

    Raises:
        UserError: like `meter`, when the training begins
    """

    def __init__(
        self,
        name: str = "training",
        *,
        zone: str | None = None,
        pue: float = 1.0,
        csv: str | PathLike[str] | None = None,
        quiet: bool = False,
    ):
        self.metered: Metered | None = None
        self._name, self._zone, self._pue, self._csv, self._quiet = name, zone, pue, csv, quiet
        self._training = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_local_process_zero:
            return
        if self._training and self.metered is not None:
            self.metered.close()  # the training before has raised
        csv = Path(args.output_dir or ".") / "emissions.csv" if self._csv is None else self._csv
        self.metered = Metered(self._name, self._zone, self._pue, csv, self._quiet)
        self.metered.start()
        self._training = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.metered is None or not self._training:
            return
        reading = self.metered.reading
        joules = reading.joules
        figures = {
            "joules": joules.value,
            "joules_low": joules.low,
            "joules_high": joules.high,
            "cpu_seconds": reading.cpu_seconds.value,
        }
        known = {key: value for key, value in figures.items() if value is not None}
        if logs is not None:
            logs.update(known)
        if state.log_history:
            state.log_history[-1].update(known)  # the Trainer has put a copy of the logs there before

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._training and self.metered is not None:
            self._training = False
            self.metered.stop()
