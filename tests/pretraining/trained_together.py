"""What a process of a shared training does, in a module that a fork server can load before it forks."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from test_pretraining import GOAL, text_task

from lightbulb import api
from lightbulb.core.files import write_json
from lightbulb.models import decoder, loading  # noqa: F401  (what takes long to load)
from lightbulb.pretraining.record import TrainingRecord
from lightbulb.runtimes import torch  # noqa: F401
from lightbulb.testing import frequent_checkpoints
from lightbulb.train import loop


def train(out: Path, last: int = 0) -> tuple[TrainingRecord, int]:
    """The tiny training, with float32 products and a checkpoint after every step; killed after step `last`.

    Returns:
        Its record, and how many steps this process has written down.
    """
    save, saved = loop.Checkpoint.save, 0

    def save_and_die(self: loop.Checkpoint, step: int, losses: list[float]) -> None:
        nonlocal saved
        save(self, step, losses)
        saved += 1
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    changes = {"architecture": "transformer", "tokens": 2000.0, "context": 33, "batch_tokens": 132}
    goal = GOAL.model_copy(update=changes)  # the last batch of an epoch has one row, so none for the second process
    with pytest.MonkeyPatch.context() as patch, frequent_checkpoints():
        patch.setattr(loop.Checkpoint, "save", save_and_die)
        patch.setattr(loop, "fast_math", lambda device: contextlib.nullcontext())
        return api.train(text_task(), goal, out, quiet=True), saved


def assist(rank: int, port: int, out: Path, last: int) -> None:
    """One of two processes, as a launcher starts them. Its record goes beside `out`."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    record, saved = train(out, last)
    write_json(out.with_name(f"{rank}.json"), {"record": record.model_dump(mode="json"), "saved": saved})
