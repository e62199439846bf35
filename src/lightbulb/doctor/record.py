"""What the doctor finds: the keys of `lightbulb doctor --json`. What is not known is None, never 0."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure


class DoctorRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(DoctorRecord):
    """The machine as its system describes it.

    processor: its name; None where the system tells none. watts_row: the row of `cpu_watts_per_thread.csv` that
    estimates use, None where they use several (watts_rows) or, where nothing is known, all (both None). watts_from:
    what told the family. threads_held: hardware threads that this process may use (affinity, quotas).
    threads_present: that are online. quota_threads: CPU seconds a second that cgroups allow, None
    where they set no limit. memory, memory_available: of the machine; memory_limit: of the cgroups, without a value
    where they set none (all bytes). virtual: whether this is a virtual machine, and virtual_known_by: what told it.
    load: runnable threads over the last minute, before the doctor's own work. steal: share of the time in which the
    hypervisor gave our processors to others, in percent, while speeds were measured.
    """

    processor: str | None
    architecture: str
    watts_row: str | None
    watts_rows: tuple[str, ...] | None = None
    watts_from: str | None = None
    threads_held: int
    threads_present: int | None
    quota_threads: float | None
    memory: Figure
    memory_available: Figure
    memory_limit: Figure
    virtual: bool | None
    virtual_known_by: str
    load: float | None
    steal: Figure
    system: str
    python: str


class FoundSensor(DoctorRecord):
    """A sensor that can be read now; `in_sum`: whether its joules are part of a window's."""

    name: str
    scope: str
    limitations: tuple[str, ...]
    in_sum: bool


class Energy(DoctorRecord):
    """remarks: what cannot be read, why, and what to type to change that. idle, busy: watts that an estimate charges
    for the threads held when none and when all of them work; used where no sensor is found. add: sources of power that
    can be added to this machine."""

    sensors: tuple[FoundSensor, ...]
    diagnostics: tuple[str, ...]
    idle: Figure
    busy: Figure
    add: tuple[str, ...]


class ElectricityGrid(DoctorRecord):
    """zone: whose electricity is assumed where none is named. intensity: g CO2e per kWh. hint: how to name one."""

    zone: str
    intensity: Figure
    hint: str


class FoundRuntime(DoctorRecord):
    """version: None where it is not installed; hint: what to type then, None where nothing is needed."""

    name: str
    package: str
    use: str
    version: str | None
    hint: str | None


class Gpu(DoctorRecord):
    """driver: whether a driver answers for it."""

    vendor: str
    name: str | None
    memory: Figure
    driver: bool


class Disk(DoctorRecord):
    """The space that is left where `use` writes."""

    use: str
    folder: str
    free: Figure


class ShortModel(DoctorRecord):
    """A model with a short name. path: its file, None where it is not installed; hint: what to type then."""

    name: str
    path: str | None
    bytes: Figure
    hint: str | None


class Software(DoctorRecord):
    """What can be run. instruction_sets: those of this architecture that matter to small models, None where the system
    does not list them."""

    runtimes: tuple[FoundRuntime, ...]
    instruction_sets: dict[str, bool] | None
    gpus: tuple[Gpu, ...]
    disks: tuple[Disk, ...]
    models: tuple[ShortModel, ...]


class Cache(DoctorRecord):
    """A data cache of the first processor: its size in bytes and how many threads share it."""

    level: int
    bytes: int
    shared_by: int


class StreamSpeed(DoctorRecord):
    """How fast `threads` threads together read from `place` ("memory", "L2", ...); working_set: bytes, all threads."""

    place: str
    threads: int
    working_set: int | None
    speed: Figure


class Products(DoctorRecord):
    """Speed of matrix products of `number` ("float32", "int8") on `threads` threads together."""

    number: str
    threads: int
    speed: Figure


class DecodeBound(DoctorRecord):
    """The most tokens a second at batch 1 of a model whose `bytes` are all read from memory for every token."""

    model: str
    bytes: int
    tokens_per_second: Figure


class Speed(DoctorRecord):
    caches: tuple[Cache, ...]
    streamed: tuple[StreamSpeed, ...]
    products: tuple[Products, ...]
    decode: tuple[DecodeBound, ...]


class Examination(DoctorRecord):
    """The whole of `lightbulb doctor --json`. verdict: what follows for the user, a sentence or two each."""

    machine: Machine
    energy: Energy
    grid: ElectricityGrid
    software: Software
    speed: Speed
    verdict: tuple[str, ...]
