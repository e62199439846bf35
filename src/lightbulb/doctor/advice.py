"""What follows for the user from what the doctor found."""

from __future__ import annotations

from lightbulb.core.figures import Figure, human
from lightbulb.doctor.record import Energy, Machine, Software, Speed

BUSY = 0.5  # runnable threads for each thread held, from which on speeds are said to be too low
STOLEN_PERCENT = 2.0


def advise(machine: Machine, energy: Energy, software: Software, speed: Speed) -> tuple[str, ...]:
    """What follows for the user, a sentence or two each."""
    return (_joules(energy), _speed(speed), *_disturbed(machine), _next(software))


def _joules(energy: Energy) -> str:
    if energy.sensors:
        summed = [sensor for sensor in energy.sensors if sensor.in_sum]
        names = " + ".join(sensor.name for sensor in summed)
        return f"Joules here are measured by {names} (scope {summed[0].scope}); what these leave out is not in them."
    busy = energy.busy
    if busy.value is None or busy.low is None or busy.high is None:
        return "Joules are not known here; CPU seconds are measured, and their ratios hold."
    return (
        f"Joules here are estimates: the truth may be {busy.value / busy.low:.2g} times lower or "
        f"{busy.high / busy.value:.2g} times higher. CPU seconds are measured, and their ratios hold."
    )


def _speed(speed: Speed) -> str:
    bounds = [b for b in speed.decode if b.tokens_per_second.value is not None]
    if not bounds:
        return "How fast memory streams is not known, and so no bound on tokens per second."
    each = ", ".join(f"{b.model.split()[-1]} {_about(b.tokens_per_second)}" for b in bounds)
    return f"As memory was read here, smollm2-135m decodes at most {each} tokens/s{_last_level(speed)}."


def _last_level(speed: Speed) -> str:
    """A model that stays in the cache is bound by the cache."""
    if not speed.caches:
        return ""
    last, threads = speed.caches[-1], max(s.threads for s in speed.streamed)
    seen = {s.place: s.speed.value for s in speed.streamed if s.threads == threads}
    cache, memory = seen.get(f"L{last.level}"), seen.get("memory")
    if cache is None or memory is None or cache <= 1.2 * memory:
        return ""
    size = f"{last.bytes / 1e6:.3g} MB"
    return f"; weights well under {size} stay in L{last.level}, which is {cache / memory:.2g} times as fast"


def _about(figure: Figure) -> str:
    return human(figure.value) if figure.value is not None else "not known"


def _disturbed(machine: Machine) -> tuple[str, ...]:
    found = []
    if machine.load is not None and machine.load > BUSY * machine.threads_held:
        found.append(f"other work is running (load {machine.load:.2g} on {machine.threads_held} threads)")
    if machine.steal.value is not None and machine.steal.value > STOLEN_PERCENT:
        found.append(f"the hypervisor takes {human(machine.steal.value)}% of the processors")
    if not found:
        return ()
    return (f"Speeds above may be too low: {' and '.join(found)}. Ask again when it is quiet.",)


def _next(software: Software) -> str:
    missing = [runtime.hint for runtime in software.runtimes if runtime.hint]
    missing += [model.hint for model in software.models if model.hint]
    if missing:
        return f"To be able to run everything, type: {' && '.join(missing)}"
    return "Everything needed is installed; type: lightbulb shrink smollm2-135m --task home --dry-run"
