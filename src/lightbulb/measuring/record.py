"""What `lightbulb measure` says of a model, as data."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure
from lightbulb.measuring.roofline import Roofline


class Idle(BaseModel):
    """Watts while this process sleeps.

    Attributes:
        before: in a window before the trials
        after: in one after them
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: Figure
    after: Figure


class MachineState(BaseModel):
    """The machine while it was measured on.

    Attributes:
        family: this processor's row in the table of watts; None where it has none or can be of several
        family_from: what told it
        threads: those the runtime was given
        others_threads: threads that others kept busy meanwhile
        stolen_share: of the CPU time that was wanted here, what the host gave to other virtual machines
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str | None
    family_from: str = ""
    threads: int
    others_threads: Figure
    stolen_share: Figure


class Measured(BaseModel):
    """One model measured. Every cost is per prompt token, per output token and per answer:

    cpu_seconds_*: of this process, so of the model; null for an endpoint. seconds_*: by the clock, for a batch divided
    by its answers. joules_*: gross, all that the meter sees. net_joules_*: less what idling takes.

    Attributes:
        model: as it was typed
        runtime: that it ran in
        task: null for prompts cut from spoken commands
        batch: prompts side by side
        context: tokens of a prompt; null with a task
        output_tokens: of each answer; null with a task, where answers are as long as the model makes them
        trials: windows of each kind
        window_seconds: of each
        model_bytes: on disk; null for an endpoint
        tokens_per_second_prefill: prompt tokens
        tokens_per_second_decode: output tokens
        seconds_to_first_token: of an answer with one token; as streamed, for an endpoint
        peak_bytes: memory of this process above what it was before loading
        idle: watts while nothing is asked
        machine: that it ran on
        date: the day, ISO 8601
        lightbulb: its version
        notes: what a reader must know
        roofline: of decoding, where the runtime counts what it does
        against: the other model, measured interleaved with this one
        ratios: this one / the other by name of the cost, paired
        within_noise: those whose interval includes 1
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    runtime: str
    task: str | None
    batch: int
    context: int | None
    output_tokens: int | None
    trials: int
    window_seconds: float
    model_bytes: int | None
    joules_per_prompt_token: Figure
    joules_per_output_token: Figure
    joules_per_answer: Figure
    net_joules_per_prompt_token: Figure
    net_joules_per_output_token: Figure
    net_joules_per_answer: Figure
    cpu_seconds_per_prompt_token: Figure
    cpu_seconds_per_output_token: Figure
    cpu_seconds_per_answer: Figure
    seconds_per_prompt_token: Figure
    seconds_per_output_token: Figure
    seconds_per_answer: Figure
    tokens_per_second_prefill: Figure
    tokens_per_second_decode: Figure
    seconds_to_first_token: Figure
    peak_bytes: Figure
    idle: Idle
    machine: MachineState
    date: str
    lightbulb: str
    notes: list[str] = []
    roofline: Roofline | None = None
    against: Measured | None = None
    ratios: dict[str, Figure] | None = None
    within_noise: list[str] | None = None
