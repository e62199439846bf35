"""Processes that train one model together, as torchrun and `accelerate launch` start them: each computes the gradient
of its share of every batch, and all gradients are added up. Only the main one keeps files and talks.

    team = joined()             # of one process where nothing else was started
    team.share(examples)        # this process's part of a batch
    team.add_up(parameters)     # afterwards every process has the gradient of the whole batch

Losses are weighted by the targets of the whole batch, so that the sum is what one process would have computed,
whatever the shares. (DistributedDataParallel takes the mean over processes, which differs where a batch is short.)
"""

from __future__ import annotations

import atexit
import json
import os
import socket
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from lightbulb.energy.estimate import OWN
from lightbulb.energy.meter import cpu_seconds_so_far

if TYPE_CHECKING:
    import torch

PATIENCE = timedelta(days=1)  # the others wait while the main process reads the text, scores and writes
MOMENTS = ("exp_avg", "exp_avg_sq")


def processes() -> int:
    """How many were started together."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def rank() -> int:
    """Which of them this one is; 0 is the main one."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def threads_each(held: int) -> int:
    """Processor threads for each process, where those of this machine hold `held` together."""
    return max(1, held // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class Alone:
    """A process that trains by itself, and what `Team` has in common with it.

    Attributes:
        main: whether it keeps files and talks
        elsewhere: how many of the processes are on other machines than the main one
        cpu_seconds: of the other processes on the main one's machine, so far
        whose: what `cpu_clock` counts
    """

    main = True
    elsewhere = 0
    cpu_seconds = 0.0
    whose = OWN

    def cpu_clock(self) -> float:
        """CPU seconds of all processes on this machine, as the others last told them."""
        return cpu_seconds_so_far() + self.cpu_seconds

    def share(self, examples: list[int]) -> list[int]:
        """This process's part of a batch."""
        return examples

    def total(self, count: int) -> int:
        """The sum over all processes."""
        return count

    def add_up(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Gives each parameter the sum of its gradients over all processes."""

    def agree(self, loss: float, steps: int) -> tuple[float, int]:
        """(sum of the losses, steps that the main process has decided on)."""
        return loss, steps

    def tell(self, text: str = "") -> str:
        """What the main process says, which the others wait for."""
        return text

    def begin(
        self,
        first: int,
        losses: list[float],
        parameters: Iterable[torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> tuple[int, list[float]]:
        """Gives every process the main one's weights, moments, steps done and their losses; returns the latter two."""
        return first, losses


ALONE = Alone()


class Team(Alone):
    """One of several processes; torch.distributed must be initialized."""

    whose = "the processes of this machine that train together"

    def __init__(self) -> None:
        self.main, self.size, self.rank = rank() == 0, processes(), rank()
        self._since = cpu_seconds_so_far()
        self._beside = self.tell(socket.gethostname()) == socket.gethostname()
        self.elsewhere = self.total(int(not self._beside))

    def share(self, examples: list[int]) -> list[int]:
        return examples[self.rank :: self.size]

    def total(self, count: int) -> int:
        return int(self._sums(count)[0])

    def _sums(self, *values: float) -> list[float]:
        import torch

        told = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(told)
        return told.tolist()

    def add_up(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        import torch

        for p in parameters:
            if p.grad is None:  # of a process without a row of a short batch
                p.grad = torch.zeros_like(p)
            torch.distributed.all_reduce(p.grad)

    def agree(self, loss: float, steps: int) -> tuple[float, int]:
        counts = self._beside and not self.main
        spent = cpu_seconds_so_far() - self._since if counts else 0.0
        loss, decided, self.cpu_seconds = self._sums(loss, steps if self.main else 0, spent)
        return loss, int(decided)

    def tell(self, text: str = "") -> str:
        import torch

        said = bytearray(text.encode())
        size = torch.tensor(len(said))
        torch.distributed.broadcast(size, 0)
        told = torch.frombuffer(said, dtype=torch.uint8) if self.main else torch.empty(int(size), dtype=torch.uint8)
        torch.distributed.broadcast(told, 0)
        return told.numpy().tobytes().decode()

    def begin(
        self,
        first: int,
        losses: list[float],
        parameters: Iterable[torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> tuple[int, list[float]]:
        import torch

        first, losses = json.loads(self.tell(json.dumps([first, losses])))
        for p in parameters:
            state = optimizer.state[p]
            if first and not self.main:
                state["step"] = torch.tensor(float(first), device=p.device)
                state |= {moment: torch.zeros_like(p) for moment in MOMENTS}
            for tensor in (p.detach(), *(state[moment] for moment in MOMENTS if first)):
                torch.distributed.broadcast(tensor, 0)
        return first, losses


def joined() -> Alone:
    """The team that this process was started in; waits for the others. Each training has a team of its own, whose CPU
    seconds begin at 0."""
    if processes() == 1:
        return ALONE
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        gpu = torch.cuda.is_available()
        if gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
        atexit.register(distributed.destroy_process_group)
    return Team()
