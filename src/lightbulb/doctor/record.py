"""What the doctor finds: the keys of `lightbulb doctor --json`. What is not known is None, never 0."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure


class DoctorRecord(BaseModel):
    """What all parts have in common: they do not change, and have no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(DoctorRecord):
    """The machine as its system describes it.

    Attributes:
        processor: its name; None where the system tells none
        architecture: of its instructions
        watts_row: the row of `cpu_watts_per_thread.csv` that estimates use; None where they use several (watts_rows)
            or, where nothing is known, all (both None)
        watts_rows: the rows that they use, where it is not one
        watts_from: what told the family
        threads_held: hardware threads that this process may use (affinity, quotas)
        threads_present: that are online
        quota_threads: CPU seconds a second that cgroups allow; None where they set no limit
        memory: bytes of the machine
        memory_available: likewise, that are free
        memory_limit: bytes that cgroups allow, without a value where they set none
        virtual: whether this is a virtual machine
        virtual_known_by: what told it
        load: runnable threads over the last minute, before the doctor's own work
        steal: share of the time in which the hypervisor gave our processors to others, in percent, while speeds were
            measured
        system: name and kernel
        python: its version
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
    """A sensor that can be read now.

    Attributes:
        name: one word and a number
        scope: what the reading includes
        limitations: what is known to be wrong with it
        in_sum: whether its joules are part of a window's
    """

    name: str
    scope: str
    limitations: tuple[str, ...]
    in_sum: bool


class Energy(DoctorRecord):
    """What can be measured here.

    Attributes:
        sensors: that can be read now
        diagnostics: what cannot be read, why, and what to type to change that
        idle: watts that an estimate charges for the threads held when none of them works; used where no sensor is found
        busy: likewise, when all of them work
        add: sources of power that can be added to this machine
    """

    sensors: tuple[FoundSensor, ...]
    diagnostics: tuple[str, ...]
    idle: Figure
    busy: Figure
    add: tuple[str, ...]


class ElectricityGrid(DoctorRecord):
    """What carbon is reckoned with.

    Attributes:
        zone: whose electricity is assumed where none is named
        intensity: g CO2e per kWh
        hint: how to name one
    """

    zone: str
    intensity: Figure
    hint: str


class FoundRuntime(DoctorRecord):
    """A runtime, installed or not.

    Attributes:
        name: for showing
        package: that it comes in
        use: what it is for
        version: None where it is not installed
        hint: what to type then; None where nothing is needed
    """

    name: str
    package: str
    use: str
    version: str | None
    hint: str | None


class Gpu(DoctorRecord):
    """A graphics processor.

    Attributes:
        vendor: of it
        name: None where it is not known
        memory: bytes
        driver: whether a driver answers for it
    """

    vendor: str
    name: str | None
    memory: Figure
    driver: bool


class Disk(DoctorRecord):
    """The space that is left.

    Attributes:
        use: what writes there
        folder: where
        free: bytes
    """

    use: str
    folder: str
    free: Figure


class ShortModel(DoctorRecord):
    """A model with a short name.

    Attributes:
        name: the short one
        path: its file; None where it is not installed
        bytes: of the file
        hint: what to type where it is not installed
    """

    name: str
    path: str | None
    bytes: Figure
    hint: str | None


class Software(DoctorRecord):
    """What can be run.

    Attributes:
        runtimes: installed or not
        instruction_sets: those of this architecture that matter to small models; None where the system does not list
            them
        gpus: with a driver or without
        disks: where something is written
        models: with a short name
    """

    runtimes: tuple[FoundRuntime, ...]
    instruction_sets: dict[str, bool] | None
    gpus: tuple[Gpu, ...]
    disks: tuple[Disk, ...]
    models: tuple[ShortModel, ...]


class Cache(DoctorRecord):
    """A data cache of the first processor.

    Attributes:
        level: 1 is the nearest
        bytes: its size
        shared_by: how many threads share it
    """

    level: int
    bytes: int
    shared_by: int


class StreamSpeed(DoctorRecord):
    """How fast threads together read.

    Attributes:
        place: that they read from ("memory", "L2", ...)
        threads: how many
        working_set: bytes, all threads
        speed: GB/s
    """

    place: str
    threads: int
    working_set: int | None
    speed: Figure


class Products(DoctorRecord):
    """Speed of matrix products.

    Attributes:
        number: "float32" or "int8"
        threads: together
        speed: GOP/s
    """

    number: str
    threads: int
    speed: Figure


class DecodeBound(DoctorRecord):
    """The most tokens a second at batch 1 of a model that is all read from memory for every token.

    Attributes:
        model: its name
        bytes: of its weights
        tokens_per_second: at most
    """

    model: str
    bytes: int
    tokens_per_second: Figure


class Speed(DoctorRecord):
    """What was timed here.

    Attributes:
        caches: as the system reports them
        streamed: reading
        products: multiplying
        decode: what follows for models
    """

    caches: tuple[Cache, ...]
    streamed: tuple[StreamSpeed, ...]
    products: tuple[Products, ...]
    decode: tuple[DecodeBound, ...]


class Examination(DoctorRecord):
    """The whole of `lightbulb doctor --json`.

    Attributes:
        machine: as its system describes it
        energy: what can be measured
        grid: what carbon is reckoned with
        software: what can be run
        speed: what was timed
        verdict: what follows for the user, a sentence or two each
    """

    machine: Machine
    energy: Energy
    grid: ElectricityGrid
    software: Software
    speed: Speed
    verdict: tuple[str, ...]
