"""How a prediction reads: a record for machines, lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightbulb.core import units

if TYPE_CHECKING:
    from rich.table import Table

    from lightbulb.predicting.devices import Device
    from lightbulb.predicting.prediction import Prediction

FIGURES = (
    "joules_per_output_token",
    "joules_per_prompt_token",
    "wall_joules_per_output_token",
    "tokens_per_second",
    "prompt_tokens_per_second",
)


def prediction_dict(prediction: Prediction) -> dict[str, Any]:
    """Figures by name, `fits`, `bound_by`, the setting and notes."""
    return {
        "device": prediction.device.name,
        "runtime": prediction.setting.runtime,
        "batch": prediction.setting.batch,
        "context": prediction.setting.context,
        "devices": prediction.setting.devices,
        **{name: getattr(prediction, name).model_dump() for name in FIGURES},
        "bytes_needed": round(prediction.bytes_needed),
        "fits": prediction.fits,
        "bound_by": prediction.bound_by,
        "notes": list(prediction.notes),
    }


def prediction_text(prediction: Prediction) -> str:
    device, setting = prediction.device, prediction.setting
    several = f"{setting.devices} x " if setting.devices > 1 else ""
    room = units.quantity(device.memory_gb * 1e9 * setting.devices, "bytes")
    fits = "fits" if prediction.fits else "does not fit"
    scope = prediction.joules_per_output_token.scope
    needed = units.quantity(prediction.bytes_needed, "bytes")
    lines = [
        f"{several}{device.label}, {setting.runtime}, batch {setting.batch}, context {setting.context} (estimated)",
        "",
        f"written token   {units.text(prediction.joules_per_output_token, 'J')}  ({scope})",
    ]
    if scope != "wall" and prediction.wall_joules_per_output_token.value is not None:
        lines.append(f"  at the wall   {units.text(prediction.wall_joules_per_output_token, 'J')}")
    lines += [
        f"token read      {units.text(prediction.joules_per_prompt_token, 'J')}  ({scope})",
        f"speed           {prediction.tokens_per_second} written, {prediction.prompt_tokens_per_second} read",
        f"memory          {fits}: {needed} of {room}",
        f"bound by        {prediction.bound_by}",
        *(f"note            {note}" for note in prediction.notes),
        "",
        f"90% intervals; {prediction.joules_per_output_token.method.partition(';')[0]}.",
        f"Device: {'; '.join(device.sources)}",
    ]
    return "\n".join(lines)


def catalogue_dict(devices: Sequence[Device]) -> dict[str, Any]:
    from dataclasses import asdict

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
