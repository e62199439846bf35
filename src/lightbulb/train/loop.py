"""The one training loop: AdamW, warm-up and cosine decay, checkpoints that a kill cannot spoil.

A run that is killed and resumed ends with the same bytes as one that was not: the order of batches depends on (seed,
epoch) alone, the schedule on the step alone, and a checkpoint holds weights, moments and the step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel

from lightbulb.errors import RunFailure
from lightbulb.models.form import Encoded
from lightbulb.passes.base import Progress
from lightbulb.store import plain_os_errors, sync_file
from lightbulb.train.data import Batch, epoch_order, micro_batches
from lightbulb.train.forward import device_of, fast_math

Forward = Callable[[PreTrainedModel, Batch], torch.Tensor]  # -> logits [P, V]
LossFunction = Callable[[torch.Tensor, Batch], torch.Tensor]  # (logits [P, V], batch) -> scalar
CHECKPOINT_SECONDS = 60.0
MAX_NORM = 1.0  # of all gradients together: a longer one is shortened
LOSSES = "losses"
CHECKPOINT_SHARE = 20  # never spend more than 1/20 of the time on writing checkpoints


class Schedule(BaseModel):
    """How long and how fast to train. Learning rate: linear warm-up over 5% of the steps, then cosine to zero."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)

    def steps(self, examples: int) -> int:
        return max(1, math.ceil(math.ceil(examples / self.batch_size) * self.epochs))

    def rate(self, step: int, steps: int) -> float:
        warm = max(1, round(0.05 * steps))
        return self.learning_rate * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


@dataclass(frozen=True, slots=True)
class Trained:
    steps: int
    tokens: int
    loss: float  # mean over the last tenth of the steps


def train(
    model: PreTrainedModel,
    data: Sequence[Encoded],
    schedule: Schedule,
    forward: Forward,
    loss_function: LossFunction,
    *,
    seed: int,
    scratch: Path,
    progress: Progress,
    label: str,
) -> Trained:
    """Trains the parameters of `model` that require gradients, in place."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        parameters.values(),
        lr=schedule.learning_rate,
        weight_decay=schedule.weight_decay,
        betas=(0.9, 0.98),
        fused=True,
    )
    steps = schedule.steps(len(data))
    checkpoint = Checkpoint(scratch / "checkpoint.safetensors", parameters, optimizer)
    first, losses = checkpoint.load()
    per_epoch = math.ceil(len(data) / schedule.batch_size)
    order, order_epoch, tokens = [], -1, 0
    model.train()
    with progress.bar(label, steps) as advance:
        for step in range(first, steps):
            if step // per_epoch != order_epoch:
                order_epoch = step // per_epoch
                order = epoch_order(data, schedule.batch_size, seed, order_epoch)
            batches = micro_batches(data, order[step % per_epoch])
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step, steps)
            loss = _step(model, batches, forward, loss_function, optimizer, list(parameters.values()))
            if not math.isfinite(loss):
                raise RunFailure(
                    f"training diverged at step {step}: the loss is {loss}",
                    where=label,
                    mend="lower the learning rate of this pass in the recipe that `lightbulb shrink ... --dry-run` "
                    "prints, and perform it with `lightbulb run`",
                )
            losses.append(loss)
            tokens += sum(batch.tokens for batch in batches)
            advance(step + 1, f"loss {sum(losses[-20:]) / len(losses[-20:]):.3f}")
            checkpoint.maybe_save(step + 1, losses)
    model.eval()
    tail = losses[-max(1, steps // 10) :]
    return Trained(steps, tokens, sum(tail) / len(tail))


def _step(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    forward: Forward,
    loss_function: LossFunction,
    optimizer: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
) -> float:
    """One optimizer step on the mean loss over all targets of `batches`; returns that loss."""
    optimizer.zero_grad(set_to_none=True)
    targets = sum(len(batch.targets) for batch in batches)
    total = torch.zeros((), device=device_of(model))
    for batch in batches:
        with fast_math(device_of(model)):
            logits_PV = forward(model, batch)
        loss = loss_function(logits_PV, batch) * (len(batch.targets) / targets)
        loss.backward()
        total += loss.detach()
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not norm <= MAX_NORM:
        torch.nn.utils.clip_grads_with_norm_(parameters, MAX_NORM, norm)
    optimizer.step()
    torch.autograd.graph.increment_version(parameters)  # a fused step does not; working copies go by it
    return total.item()


class Checkpoint:
    """Weights, moments, step and the losses so far in one safetensors file, replaced atomically."""

    def __init__(self, path: Path, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer):
        self.path, self.parameters, self.optimizer = path, parameters, optimizer
        self.last_save, self.cost = time.monotonic(), 0.0

    def load(self) -> tuple[int, list[float]]:
        """Restores the state; returns the steps already taken and their losses, (0, []) when there is no checkpoint."""
        try:
            with safe_open(self.path, "pt") as f:
                step = int(f.metadata()["step"])
                with torch.no_grad():
                    for name, p in self.parameters.items():
                        p.copy_(f.get_tensor(f"p/{name}"))
                        self.optimizer.state[p] = {
                            "step": torch.tensor(float(step), device=p.device),
                            "exp_avg": f.get_tensor(f"m/{name}").to(p.device),
                            "exp_avg_sq": f.get_tensor(f"v/{name}").to(p.device),
                        }
                return step, f.get_tensor(LOSSES).tolist()
        except FileNotFoundError:
            return 0, []

    def maybe_save(self, step: int, losses: list[float]) -> None:
        if time.monotonic() - self.last_save > max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * self.cost):
            self.save(step, losses)

    def save(self, step: int, losses: list[float]) -> None:
        begin = time.monotonic()
        tensors = {LOSSES: torch.tensor(losses, dtype=torch.float64)}
        for name, p in self.parameters.items():
            state = self.optimizer.state[p]
            tensors |= {f"p/{name}": p.detach(), f"m/{name}": state["exp_avg"], f"v/{name}": state["exp_avg_sq"]}
        with plain_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = self.path.with_suffix(".tmp")
            save_file({k: t.contiguous() for k, t in tensors.items()}, beside, metadata={"step": str(step)})
            sync_file(beside)
            beside.replace(self.path)
        self.last_save = time.monotonic()
        self.cost = self.last_save - begin
