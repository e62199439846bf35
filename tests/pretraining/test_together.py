"""Two processes that train together learn what one learns, and resume as one does."""

from __future__ import annotations

import multiprocessing
import signal
import socket
from pathlib import Path

import pytest
import trained_together
from test_pretraining import GOAL, text_task

from lightbulb import api
from lightbulb.core.errors import UserError
from lightbulb.core.events import Stream
from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json
from lightbulb.pipeline.ledger import Cost
from lightbulb.pretraining.job import cost_of_all
from lightbulb.shrinking.goal import Goal
from lightbulb.train.together import Alone, threads_each


def two_train(out: Path, last: int = 0) -> list[int | None]:
    """Two processes over gloo; their exit codes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start = multiprocessing.get_context("forkserver")  # torch is loaded once, and nothing has run before the fork
    start.set_forkserver_preload(["trained_together"])
    both = [start.Process(target=trained_together.assist, args=(rank, port, out, last)) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(240)
    return [process.exitcode for process in both]


def losses_of(out: Path) -> list[float]:
    (made,) = (out / "steps").glob("trained-*")
    return read_json(made / "losses.json")


def test_two_processes_learn_what_one_learns_and_resume(tmp_path: Path) -> None:
    alone, steps = trained_together.train(tmp_path / "alone")
    out = tmp_path / "two"
    killed, left = two_train(out, last=5)
    assert killed == -signal.SIGKILL and left, "the other one must end, too"
    assert not (out / "training.json").exists()
    assert two_train(out) == [0, 0]
    main, other = (read_json(tmp_path / f"{rank}.json") for rank in (0, 1))
    assert main["record"] == other["record"] == read_json(out / "training.json")
    assert (main["saved"], other["saved"]) == (steps - 5, 0), "resumed at the checkpoint, which only one process writes"
    assert losses_of(out) == pytest.approx(losses_of(tmp_path / "alone"), rel=1e-5)
    assert main["record"]["score"]["value"] == pytest.approx(alone.score.value, rel=1e-4)
    assert main["record"]["tokens"] == alone.tokens
    cost = main["record"]["training"]
    assert "train together" in cost["cpu_seconds"]["method"] and "this process" not in cost["joules"]["method"]


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="4 rows of 32 tokens cannot be shared by 3 processes") as told:
        api.train(text_task(), GOAL, tmp_path / "run", quiet=True)
    assert told.value.hint == "`batch_tokens=192`" and not (tmp_path / "run").exists()


def test_what_the_other_processes_spend_is_counted_once(tmp_path: Path) -> None:
    team = Alone()
    with api.opened(tmp_path / "run", text_task(), Goal(threads=1), Stream(), team) as run:
        before = run.spent()
        team.cpu_seconds = 500.0
        after = run.spent()
    assert 500 <= after.cpu_seconds.value - before.cpu_seconds.value < 1000
    if before.joules.source == "estimated":
        assert after.joules.value > before.joules.value + 50, "a tenth of a watt for each of these seconds, at least"


def test_without_the_sensors_of_other_machines_there_are_no_joules() -> None:
    cost = Cost(seconds=2.0, cpu_seconds=Figure(value=3.0, unit="s"), joules=Figure(value=5.0, unit="J"))
    team = Alone()
    assert cost_of_all(team, cost) == cost
    team.elsewhere = 2
    told = cost_of_all(team, cost)
    assert told.joules.value is None and "2 processes" in told.joules.method and told.cpu_seconds == cost.cpu_seconds


def test_processes_of_a_machine_share_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads_each(8) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert [threads_each(held) for held in (8, 2)] == [2, 1]
