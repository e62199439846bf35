"""From what each sensor read in a window to one figure in which nothing counts twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightbulb.core.figures import Figure
from lightbulb.energy.sensors.base import Sensor, contains, same_thing

AGREE = 0.05  # two readings of the same thing may differ by so much before it is said
_WIDEST_FIRST = ("wall", "machine", "board", "chip")
_KINDS = {"package": "CPU", "dram": "memory", "gpu": "any GPU", "amdgpu": "any GPU", "apu": "CPU"}


def to_sum(sensors: Sequence[Sensor]) -> list[Sensor]:
    """The sensors to add so that nothing counts twice: one that contains all others, else those of the narrowest
    scope that no other of them contains."""
    for sensor in sorted(sensors, key=lambda s: _WIDEST_FIRST.index(s.scope)):
        if all(other is sensor or contains(sensor, other) for other in sensors):
            return [sensor]
    narrowest = max((s.scope for s in sensors), key=_WIDEST_FIRST.index)
    return _outermost([s for s in sensors if s.scope == narrowest])


def is_gpu(sensor: Sensor) -> bool:
    """Whether it is of a GPU, by its name."""
    return _KINDS.get(sensor.name.split("-")[0]) == "any GPU"


def covers_cpu(sensors: Sequence[Sensor]) -> bool:
    """Whether what `to_sum` adds up has the processor in it: not where there are only counters of GPUs."""
    kinds = (_KINDS.get(s.name.split("-")[0], "CPU") for s in to_sum(sensors))
    return any(kind == "CPU" for kind in kinds)


def sum_up(sensors: Sequence[Sensor], by_sensor: Mapping[str, Figure]) -> Figure:
    """Joules of all of `sensors` together; without a value when one that is needed has none."""
    used = to_sum(sensors)
    figures = [by_sensor[s.name] for s in used]
    method = f"{' + '.join(s.name for s in used)}, everything that ran there; leaves out {_left_out(used)}"
    notes = [f.method for f in figures if ";" in f.method]
    for sensor in used:
        notes += _doubts(sensor, sensors, by_sensor)
    complete = all(f.value is not None for f in figures)
    stepped = complete and any(f.low is not None for f in figures)
    value, low, high = (sum(_end(f, side) for f in figures) for side in ("value", "low", "high"))
    return Figure(
        value=value if complete else None,
        low=low if stepped else None,
        high=high if stepped else None,
        unit="J",
        scope=used[0].scope,
        method="; ".join([method, *notes]),
    )


def _outermost(sensors: Sequence[Sensor]) -> list[Sensor]:
    """Those that no other contains; of several that read the same thing the first."""
    return [
        s
        for at, s in enumerate(sensors)
        if not any(contains(o, s) and (i < at or not contains(s, o)) for i, o in enumerate(sensors))
    ]


def _doubts(sensor: Sensor, sensors: Sequence[Sensor], by_sensor: Mapping[str, Figure]) -> list[str]:
    """What the other sensors say against this one."""
    own = by_sensor[sensor.name]
    if own.value is None:
        return []
    notes = []
    for twin in (s for s in sensors if same_thing(sensor, s)):
        other = by_sensor[twin.name].value
        largest = max(own.value, other or 0.0)
        if other is not None and abs(own.value - other) > AGREE * largest:
            notes.append(
                f"{twin.name} reads the same and says {other:.4g} J, not {own.value:.4g} J: "
                f"they disagree by {abs(own.value - other) / largest:.0%}"
            )
    inner = _outermost([s for s in sensors if contains(sensor, s) and not same_thing(sensor, s)])
    inside = sum(by_sensor[s.name].value or 0.0 for s in inner)
    if inside > _end(own, "high"):
        notes.append(f"{sensor.name} read less than what it contains: do not trust it, see by_sensor")
    return notes


def _end(figure: Figure, side: str) -> float:
    bound = getattr(figure, side)
    return float((figure.value or 0.0) if bound is None else bound)


def _left_out(used: Sequence[Sensor]) -> str:
    kinds = {_KINDS.get(s.name.split("-")[0]) for s in used}
    match used[0].scope:
        case "chip" if any(s.name.split("-")[0] in _KINDS for s in used):
            words = [word for word in ("CPU", "memory", "any GPU") if word not in kinds]
            return ", ".join([*words, "board, disks, fans and power supply"])
        case "chip":
            return "what these do not feed: disks, fans and power supply"
        case "board":
            return "cards that the board does not feed, disks, fans and power supply"
        case "machine":
            return "losses of the power supply"
    return "nothing behind the plug"
