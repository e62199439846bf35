"""The one training loop: AdamW, warm-up and cosine decay, checkpoints that a kill cannot spoil.

A run that is killed and resumed ends with the same bytes as one that was not: the order of batches depends on (seed,
epoch) alone, the schedule on the step alone, and a checkpoint holds weights, moments and the step.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel

from lightbulb.core.errors import RunFailure
from lightbulb.core.files import plain_os_errors, sync_file
from lightbulb.core.progress import Progress
from lightbulb.models.form import Encoded
from lightbulb.train.data import Batch, epoch_order, micro_batches
from lightbulb.train.forward import device_of, fast_math
from lightbulb.train.together import ALONE, Alone

Forward = Callable[[PreTrainedModel, Batch], torch.Tensor]  # -> logits [P, V]
LossFunction = Callable[[torch.Tensor, Batch], torch.Tensor]  # (logits [P, V], batch) -> scalar
Further = Callable[[int, Batch, torch.Tensor], Iterable[torch.Tensor]]  # (step, batch, logits [P, V]) -> scalars
CHECKPOINT_SECONDS = 60.0
WARM_UP = 0.05  # of the steps
MAX_NORM = 1.0  # of all gradients together: a longer one is shortened
LOSSES = "losses"
CHECKPOINT_SHARE = 20  # never spend more than 1/20 of the time on writing checkpoints
LOOK_SECONDS = 5.0  # between two looks at the clock
RECENT_SECONDS = 20.0
TOLERATED = 0.05  # of the steps that are left: by so much a training may be late before it is shortened


class Schedule(BaseModel):
    """How long and how fast to train. Learning rate: linear warm-up over 5% of the steps, then cosine to zero.

    Attributes:
        epochs: times that the data are read, without any cut
        learning_rate: AdamW's, at its highest
        batch_size: examples of a step
        weight_decay: AdamW's
        cuts: (step, steps) each: what the clock decided after so many steps, that the training ends after `steps` of
            them. The rest of the schedule is then run through in fewer steps (or, after a cut, in more again), so that
            the learning rate still comes down to zero.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    cuts: tuple[tuple[int, int], ...] = ()

    @field_validator("cuts")
    @classmethod
    def _cuts_shorten(cls, cuts: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        last = 0
        for at, steps in cuts:
            if not last <= at < steps:
                raise ValueError(f"a cut ({at}, {steps}) after step {last}")
            last = at + 1
        return cuts

    def planned(self, examples: int) -> int:
        """Steps without any cut."""
        return max(1, math.ceil(math.ceil(examples / self.batch_size) * self.epochs))

    def steps(self, examples: int) -> int:
        """Steps, the last cut included."""
        return self.cuts[-1][1] if self.cuts else self.planned(examples)

    def cut(self, step: int, steps: int) -> Schedule:
        """The same, ending after `steps` steps of which `step` are done."""
        return self.model_copy(update={"cuts": (*self.cuts, (step, steps))})

    def rate(self, step: int, planned: int) -> float:
        """The learning rate of a step, of a training planned with `planned` of them."""
        warm, place = max(1, round(WARM_UP * planned)), self._place(step, planned)
        return self.learning_rate * min(1.0, (place + 1) / warm) * 0.5 * (1 + math.cos(math.pi * place / planned))

    def done(self, step: int, planned: int) -> float:
        """How much of a training planned with `planned` steps lies before a step: 0 to 1, its cuts included."""
        return self._place(step, planned) / planned

    def _place(self, step: int, planned: int) -> float:
        """Where in the planned schedule a step stands."""
        start, end, place = 0, planned, 0.0
        for at, steps in self.cuts:
            if step < at:
                break
            place += (planned - place) * (at - start) / (end - start)
            start, end = at, steps
        return place + (planned - place) * (step - start) / (end - start)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training did.

    Attributes:
        steps: of the optimizer
        tokens: read, padding left out
        loss: mean over the last tenth of the steps
        losses: of each step
    """

    steps: int
    tokens: int
    loss: float
    losses: tuple[float, ...]


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
    timekeeper: Timekeeper | None = None,
    further: Further | None = None,
    before_step: Callable[[float], None] | None = None,
    team: Alone = ALONE,
) -> TrainingResult:
    """Trains the parameters of `model` that require gradients, in place. Goes on from a checkpoint in `scratch`, with
    the same bytes.

    Args:
        model: a decoder
        data: encoded examples
        schedule: how long and how fast
        forward: gives the logits [P, V] of a batch
        loss_function: of logits and batch
        seed: of the order of the data
        scratch: folder for the checkpoint
        progress: where it reports
        label: of the progress
        timekeeper: shortens the schedule where the time does not allow all of it
        further: more losses of a batch, each of which goes back before the next is computed; the losses that are told
            are without them
        before_step: called with how much of the training is done (0 to 1), before each step
        team: of processes that share each batch

    Raises:
        RunFailure: the loss is no longer a number
    """
    parameters, optimizer = optimizer_of(model, schedule)
    steps, planned = schedule.steps(len(data)), schedule.planned(len(data))
    checkpoint = Checkpoint(scratch / "checkpoint.safetensors", parameters, optimizer)
    step, losses = team.begin(*checkpoint.load(), parameters.values(), optimizer)
    upcoming, tokens = examples_from(step, data, schedule.batch_size, seed), 0
    model.train()
    with progress.bar(label, steps) as advance:
        while step < steps:
            examples = next(upcoming)
            batches = micro_batches(data, team.share(examples))
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step, planned)
            if before_step:
                before_step(schedule.done(step, planned))
            more = partial(further, step) if further else None
            loss = take_step(model, batches, forward, loss_function, optimizer, list(parameters.values()), more, team)
            step += 1
            if timekeeper:
                schedule = timekeeper.look(schedule, step, steps, planned)
            loss, steps = team.agree(loss, schedule.steps(len(data)))
            if steps != schedule.steps(len(data)):  # the main process has the clock
                schedule = schedule.cut(step, steps)
            check_finite(loss, step - 1, label)
            losses.append(loss)
            tokens += sum(len(data[i].ids) - 1 for i in examples)
            advance(step, f"loss {sum(losses[-20:]) / len(losses[-20:]):.3f}")
            if team.main:
                checkpoint.maybe_save(step, losses)
    model.eval()
    tail = losses[-max(1, steps // 10) :]
    return TrainingResult(steps, tokens, sum(tail) / len(tail), tuple(losses))


def examples_from(step: int, data: Sequence[Encoded], batch_size: int, seed: int) -> Iterator[list[int]]:
    """The places of the examples of each step, from `step` on, epoch after epoch."""
    per_epoch = math.ceil(len(data) / batch_size)
    epoch, done = divmod(step, per_epoch)
    while True:
        yield from epoch_order(data, batch_size, seed, epoch)[done:]
        epoch, done = epoch + 1, 0


def check_finite(loss: float, step: int, label: str) -> None:
    """Raises RunFailure where a training has diverged."""
    if not math.isfinite(loss):
        raise RunFailure(
            f"training diverged at step {step}: the loss is {loss}",
            where=label,
            hint="lower the learning rate of this pass in the recipe that `lightbulb shrink ... --dry-run` prints, and "
            "perform it with `lightbulb run`",
        )


def optimizer_of(
    model: PreTrainedModel, schedule: Schedule
) -> tuple[dict[str, torch.nn.Parameter], torch.optim.Optimizer]:
    """(what is trained, by name; AdamW on it)."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        parameters.values(),
        lr=schedule.learning_rate,
        weight_decay=schedule.weight_decay,
        betas=(0.9, 0.98),
        fused=True,
    )
    return parameters, optimizer


def take_step(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    forward: Forward,
    loss_function: LossFunction,
    optimizer: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    further: Callable[[Batch, torch.Tensor], Iterable[torch.Tensor]] | None = None,
    team: Alone = ALONE,
) -> float:
    """One optimizer step on the mean loss over all targets of the `batches` of all processes, and on what is `further`
    to be learnt of their logits; returns this process's part of the former."""
    optimizer.zero_grad(set_to_none=True)
    targets = team.total(sum(len(batch.targets) for batch in batches))
    total = torch.zeros((), device=device_of(model))
    for batch in batches:
        with fast_math(device_of(model)):
            logits_PV = forward(model, batch)
        share = len(batch.targets) / targets
        loss = loss_function(logits_PV, batch) * share
        loss.backward()
        total += loss.detach()
        for another in further(batch, logits_PV.detach()) if further else ():
            (another * share).backward()  # type: ignore[no-untyped-call]
    team.add_up(parameters)
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not norm <= MAX_NORM:
        torch.nn.utils.clip_grads_with_norm_(parameters, MAX_NORM, norm)
    optimizer.step()
    torch.autograd.graph.increment_version(parameters)  # a fused step does not; working copies go by it
    return total.item()


class Timekeeper:
    """Compares the pace of a training with the time left for it, every LOOK_SECONDS, and shortens what cannot be done.
    Where the machine gets faster again, so does what was cut come back, up to what was planned.

    Args:
        left: gives the seconds left for the training
        decided: called with a shortened schedule before it is acted on
    """

    def __init__(self, left: Callable[[], float], decided: Callable[[Schedule], None]):
        self.left, self.decided = left, decided
        self.begin: tuple[float, int] | None = None
        self.recent: deque[tuple[float, int]] = deque()

    def look(self, schedule: Schedule, step: int, steps: int, planned: int) -> Schedule:
        """Decides how to go on.

        Args:
            schedule: as it stands
            step: how many are done
            steps: how many there are by the schedule
            planned: how many there were without cuts

        Returns:
            The schedule to go on with.
        """
        now = time.monotonic()
        if self.begin is None:  # the first step of a process also sets up what all of them use
            self.begin = (now, step)
            self.recent.append(self.begin)
            return schedule
        if now - self.recent[-1][0] < LOOK_SECONDS or step >= steps:
            return schedule
        self.recent.append((now, step))
        while len(self.recent) > 2 and now - self.recent[1][0] >= RECENT_SECONDS:
            self.recent.popleft()
        if schedule.cuts and step <= schedule.cuts[-1][0]:
            return schedule  # what was decided before a kill comes first
        ends = min(planned, step + self._affordable(now, step))
        if abs(ends - steps) <= TOLERATED * (steps - step):
            return schedule
        changed = schedule.cut(step, ends)
        self.decided(changed)
        return changed

    def _affordable(self, now: float, step: int) -> int:
        """Steps that the time left allows, at the mean of the pace so far and of late: a moment's load is no trend, and
        a lasting one shows more with every look. At least one, so that the learning rate comes to its end."""
        assert self.begin is not None
        paces = [(now - then) / (step - at) for then, at in (self.begin, self.recent[0]) if step > at]
        return max(1, int(self.left() / (sum(paces) / len(paces))))


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
        """As `save`, where the last one is long ago."""
        if time.monotonic() - self.last_save > max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * self.cost):
            self.save(step, losses)

    def save(self, step: int, losses: list[float]) -> None:
        """Replaces what was saved before."""
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
