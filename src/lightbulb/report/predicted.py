"""How a prediction reads: a record for machines, lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lightbulb.core import units
from lightbulb.core.figures import human

if TYPE_CHECKING:
    from rich.table import Table

    from lightbulb.predicting.answers import AnswerCost
    from lightbulb.predicting.devices import Device
    from lightbulb.predicting.nearest import MeasuredRow
    from lightbulb.predicting.prediction import Prediction
    from lightbulb.predicting.readings import Corrected

FIGURES = (
    "joules_per_output_token",
    "joules_per_prompt_token",
    "wall_joules_per_output_token",
    "tokens_per_second",
    "prompt_tokens_per_second",
)


def prediction_dict(prediction: Prediction) -> dict[str, Any]:
    """Figures by name, `scope`, `fits`, `bound_by`, the setting, `answer`, `nearest` rows and notes."""
    return {
        "device": prediction.device.name,
        "runtime": prediction.setting.runtime,
        "batch": prediction.setting.batch,
        "context": prediction.setting.context,
        "devices": prediction.setting.devices,
        "prompt_share": prediction.setting.prompt_share,
        "scope": prediction.scope,
        **{name: getattr(prediction, name).model_dump() for name in FIGURES},
        "bytes_needed": round(prediction.bytes_needed),
        "fits": prediction.fits,
        "bound_by": prediction.bound_by,
        "answer": None if prediction.answer is None else _answer_dict(prediction.answer),
        "nearest": [asdict(row) for row in prediction.nearest],
        "notes": list(prediction.notes),
    }


ANSWER_FIGURES = (
    "joules_per_answer",
    "tries_per_question",
    "right_in_the_end",
    "joules_per_question",
    "joules_per_right_answer",
)


def _answer_dict(answer: AnswerCost) -> dict[str, Any]:
    tokens = answer.tokens
    figures = {name: getattr(answer, name) for name in ANSWER_FIGURES}
    return {
        "prompt_tokens": tokens.prompt,
        "answer_tokens": tokens.answer,
        "thinking_tokens": tokens.thinking,
        "retries": tokens.retries,
        "right": None if tokens.right is None else tokens.right.model_dump(),
        **{name: None if figure is None else figure.model_dump() for name, figure in figures.items()},
    }


def prediction_text(prediction: Prediction) -> str:
    device, setting = prediction.device, prediction.setting
    several = f"{setting.devices} x " if setting.devices > 1 else ""
    room = units.quantity(device.memory_gb * 1e9 * setting.devices, "bytes")
    fits = "fits" if prediction.fits else "does not fit"
    needed = units.quantity(prediction.bytes_needed, "bytes")
    share = f" (with {setting.prompt_share:g} read for each)" if setting.prompt_share else ""
    lines = [
        f"{several}{device.label}, {setting.runtime}, batch {setting.batch}, context {setting.context} (estimated)",
        "",
        f"written token   {units.text(prediction.joules_per_output_token, 'J')}  ({prediction.scope}){share}",
    ]
    if prediction.scope != "wall" and prediction.wall_joules_per_output_token.value is not None:
        lines.append(f"  at the wall   {units.text(prediction.wall_joules_per_output_token, 'J')}")
    lines += [
        f"token read      {units.text(prediction.joules_per_prompt_token, 'J')}  ({prediction.scope})",
        f"speed           {prediction.tokens_per_second} written, {prediction.prompt_tokens_per_second} read",
        *([] if prediction.answer is None else _answer_lines(prediction.answer)),
        f"memory          {fits}: {needed} of {room}",
        f"bound by        {prediction.bound_by}",
        *(f"note            {note}" for note in prediction.notes),
        *_nearest_lines(prediction.nearest),
        "",
        f"90% intervals; {prediction.joules_per_output_token.method.partition(';')[0]}.",
        f"Device: {'; '.join(device.sources)}",
    ]
    return "\n".join(lines)


def _answer_lines(answer: AnswerCost) -> list[str]:
    tokens = answer.tokens
    made_of = f"{tokens.prompt:g} read, {tokens.answer:g} written" + (
        f", {tokens.thinking:g} thought" if tokens.thinking else ""
    )
    lines = [f"answer          {units.text(answer.joules_per_answer, 'J')}  ({made_of})"]
    if answer.right_in_the_end is not None and answer.joules_per_question is not None and tokens.retries:
        lines.append(
            f"question        {units.text(answer.joules_per_question, 'J')} with {tokens.retries} retries, "
            f"right in the end: {answer.right_in_the_end}"
        )
    if answer.joules_per_right_answer is not None:
        lines.append(f"right answer    {units.text(answer.joules_per_right_answer, 'J')}  (right: {tokens.right})")
    return lines


def _nearest_lines(rows: Sequence[MeasuredRow]) -> list[str]:
    """How far off predictions were on measured rows, their source left out."""
    return [
        f"measured        {row.name}, {row.scope}: {human(row.joules)} J; predicted without {row.source}: "
        f"{human(row.predicted)} [{human(row.low)}, {human(row.high)}], {100 * row.off:+.0f}%"
        for row in rows
    ]


def corrected_dict(corrected: Sequence[Corrected], out: str) -> dict[str, Any]:
    """Each reading beside what is predicted of it before and after, and the file that was written."""
    return {
        "written": out,
        "readings": [
            {
                "of": one.reading.of,
                "scope": one.reading.scope,
                "joules_per_output_token": one.reading.joules_per_output_token,
                "tokens_per_second": one.reading.tokens_per_second,
                **{
                    name: getattr(one, name).model_dump()
                    for name in ("joules_before", "joules_after", "speed_before", "speed_after")
                },
            }
            for one in corrected
        ],
    }


def corrected_text(corrected: Sequence[Corrected], out: str) -> str:
    lines = []
    for one in corrected:
        r = one.reading
        lines.append(f"{r.of}, {r.runtime}, batch {r.batch}, context {r.context}")
        if r.joules_per_output_token is not None:
            lines.append(
                f"  written token   measured {human(r.joules_per_output_token)} J ({r.scope}), predicted "
                f"{units.text(one.joules_before, 'J')}, now {units.text(one.joules_after, 'J')}"
            )
        if r.tokens_per_second is not None:
            lines.append(
                f"  speed           measured {human(r.tokens_per_second)} tokens/s, predicted {one.speed_before}, "
                f"now {one.speed_after}"
            )
    return "\n".join([*lines, "", f"written: {out}", f"use it: lightbulb predict MODEL --device {out}"])


def catalogue_dict(devices: Sequence[Device]) -> dict[str, Any]:
    return {"devices": [asdict(device) for device in devices]}


def catalogue(devices: Sequence[Device]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading, justify in (("device", "left"), ("", "left"), ("GB", "right"), ("GB/s", "right"), ("W", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for device in devices:
        table.add_row(
            device.name,
            device.label,
            *(_number(x) for x in (device.memory_gb, device.bandwidth_gbs)),
            _number(device.power_watts),
        )
    return table


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:,.4g}"
