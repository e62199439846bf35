"""Which family of `cpu_watts_per_thread.csv` a processor is of, and what told it.

The model number tells it where it is known and holds. Virtual machines often hide it, or show that of a CPU model which
many processors are run as: then instruction sets tell the oldest family that it can be, because a hypervisor may hide
an instruction but cannot add one. What comes after that family is as likely, so the figures of all of them are pooled,
less those whose second-level caches have another size.

Numbers as in Linux: arch/x86/include/asm/intel-family.h, arch/x86/kernel/cpu/amd.c, arch/arm64/include/asm/cputype.h.
Flags as in its cpufeatures.h; what came with which family: Intel's and AMD's manuals, as GCC's -march lists sum up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightbulb.core.files import text_of
from lightbulb.energy.processor import Processor, read_processor

_INTEL_FAMILY_6 = {
    42: "intel-sandybridge",
    45: "intel-sandybridge",
    60: "intel-haswell",
    63: "intel-haswell",
    71: "intel-broadwell",
    79: "intel-broadwell",
    86: "intel-broadwell",
    94: "intel-skylake-client",
    158: "intel-coffeelake",
    106: "intel-icelake",
    108: "intel-icelake",
    143: "intel-sapphirerapids",
    207: "intel-emeraldrapids",
    173: "intel-graniterapids",
    174: "intel-graniterapids",
}
_AMD_MODELS = (
    (23, range(0x00, 0x10), "amd-epyc-gen1"),
    (23, range(0x30, 0x40), "amd-epyc-gen2"),
    (25, range(0x00, 0x10), "amd-epyc-gen3"),
    (25, range(0x10, 0x20), "amd-epyc-gen4"),
    (25, range(0xA0, 0xB0), "amd-epyc-gen4"),
    (26, range(0x00, 0x20), "amd-epyc-gen5"),
)


@dataclass(frozen=True, slots=True)
class _Generation:
    """A row of the table. proofs: sets of flags, each of which no older processor of that vendor has. l2_kb: a core's
    second-level cache."""

    row: str
    title: str
    proofs: tuple[str, ...]
    l2_kb: int


# Old to new. A row without proofs has no instruction that the row before it lacks.
_GENERATIONS = {
    "GenuineIntel": (
        _Generation("intel-sandybridge", "Sandy Bridge", ("avx",), 256),
        _Generation("intel-haswell", "Haswell", ("avx2", "bmi2", "fma", "movbe avx"), 256),
        _Generation("intel-broadwell", "Broadwell", ("adx", "rdseed avx"), 256),
        _Generation("intel-skylake-client", "Skylake", ("clflushopt avx", "xsavec avx"), 256),
        _Generation("intel-coffeelake", "Coffee Lake", (), 256),
        _Generation("intel-skylake-server", "Skylake servers", ("avx512f", "avx512bw", "avx512vl"), 1024),
        _Generation("intel-cascadelake", "Cascade Lake", ("avx512_vnni", "avx512_bf16"), 1024),
        _Generation(
            "intel-icelake",
            "Ice Lake",
            ("avx512_vbmi2", "avx512_bitalg", "avx512_vpopcntdq", "vaes avx512f", "vpclmulqdq avx512f"),
            1280,
        ),
        _Generation(
            "intel-sapphirerapids",
            "Sapphire Rapids",
            ("amx_tile", "amx_int8", "amx_bf16", "avx512_fp16", "avx_vnni avx512f", "avx512_bf16 avx512_vbmi2"),
            2048,
        ),
        _Generation("intel-emeraldrapids", "Emerald Rapids", (), 2048),
        _Generation("intel-graniterapids", "Granite Rapids", ("amx_fp16", "amx_complex"), 2048),
    ),
    "AuthenticAMD": (
        _Generation("amd-epyc-gen1", "Zen", ("sha_ni", "clzero", "adx"), 512),
        _Generation("amd-epyc-gen2", "Zen 2", ("clwb", "rdpid", "wbnoinvd"), 512),
        _Generation("amd-epyc-gen3", "Zen 3", ("vaes", "vpclmulqdq", "fsrm"), 512),
        _Generation("amd-epyc-gen4", "Zen 4", ("avx512f", "avx512_vnni", "avx512_bf16", "gfni"), 1024),
        _Generation("amd-epyc-gen5", "Zen 5", ("avx_vnni", "avx512_vp2intersect", "movdiri", "movdir64b"), 1024),
    ),
}
# Instructions of Intel's cores that the table does not hold
_STRANGE_INTEL = {"avx512er": "Xeon Phi", "avx512pf": "Xeon Phi", "avx512_vp2intersect": "Tiger Lake"}
# CPU models of QEMU: what a virtual machine shows on that processor and on every later one
_QEMU = re.compile(
    r"QEMU|KVM processor|Intel (Core|Xeon|Atom) Processor( \(|$)|Intel Xeon E3?-?12xx|Intel Celeron_|Core 2 Duo P9xxx"
    r"|Westmere E56xx|Intel Core i7 9xx \(|AMD EPYC(-\w+)? Processor|AMD Opteron .*Opteron|Opteron 6\dxx class"
    r"|Hygon Dhyana Processor"
)
# Their own names tell desktops, laptops and small cores, of which the table has few rows
_NO_SERVER = re.compile(
    r"Ryzen|Athlon|Phenom|Sempron|Core\(TM\) ?(i\d|m\d|Ultra|\d)|Core\(TM\)2|Atom|Celeron|Pentium|Processor N\d", re.I
)
_ARM_IMPLEMENTERS = {
    0x41: "Arm", 0x42: "Broadcom", 0x43: "Cavium", 0x46: "Fujitsu", 0x48: "HiSilicon", 0x4E: "NVIDIA", 0x50: "APM",
    0x51: "Qualcomm", 0x53: "Samsung", 0x56: "Marvell", 0x61: "Apple", 0x69: "Intel", 0x6D: "Microsoft",
    0x70: "Phytium", 0xC0: "Ampere",
}  # fmt: skip
_ARM_PARTS = {
    (0x41, 0xD03): "Cortex-A53", (0x41, 0xD05): "Cortex-A55", (0x41, 0xD07): "Cortex-A57", (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76", (0x41, 0xD0C): "Neoverse N1", (0x41, 0xD40): "Neoverse V1",
    (0x41, 0xD49): "Neoverse N2", (0x41, 0xD4A): "Neoverse E1", (0x41, 0xD4F): "Neoverse V2",
    (0x41, 0xD84): "Neoverse V3", (0x41, 0xD8E): "Neoverse N3", (0x43, 0x0AF): "ThunderX2", (0x46, 0x001): "A64FX",
    (0x48, 0xD01): "TaiShan v110", (0x4E, 0x004): "Carmel", (0x51, 0x001): "Oryon", (0x6D, 0xD49): "Cobalt 100",
    (0xC0, 0xAC3): "AmpereOne", (0xC0, 0xAC4): "AmpereOne A", (0xC0, 0xAC5): "AmpereOne B",
    **{(0x61, part): "M1" for part in range(0x22, 0x2A)},
    **{(0x61, part): "M2" for part in range(0x32, 0x3A)},
    **{(0x61, part): "M3" for part in range(0x42, 0x4A)},
}  # fmt: skip
_ARM_ROWS = {"Neoverse N1": "amd-neoverse-n1"}  # the table's own name for the row


@dataclass(frozen=True, slots=True)
class Family:
    """What a processor is of.

    Attributes:
        rows: of the table, that this processor can be; none where the table holds nothing like it
        known_by: what it is, and from what that is known
    """

    rows: tuple[str, ...]
    known_by: str

    @property
    def row(self) -> str | None:
        """The row, where it is only one."""
        return self.rows[0] if len(self.rows) == 1 else None

    def __str__(self) -> str:
        if not self.rows:
            return f"a processor of unknown family ({self.known_by}): all families together, a wider interval"
        return f"{self.row}, {self.known_by}" if self.row else f"{self.known_by}: pooled over {', '.join(self.rows)}"


def family_here(root: Path = Path("/")) -> Family:
    """Of the machine whose file system begins at `root`."""
    processor = read_processor(root / "proc/cpuinfo")
    return Family((), "no /proc/cpuinfo") if processor is None else family_of(processor, l2_kilobytes(root))


def l2_kilobytes(root: Path) -> int | None:
    """Second-level cache of the first processor in KiB; None where the system does not tell."""
    for index in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*"):
        size = re.fullmatch(r"(\d+)K", text_of(index / "size") or "")
        if size and text_of(index / "level") == "2":
            return int(size[1])
    return None


def family_of(processor: Processor, l2_kb: int | None = None) -> Family:
    """From what /proc/cpuinfo says, and the size of a core's second-level cache."""
    if processor.vendor == "arm":
        return _arm(processor)
    generations, name = _GENERATIONS.get(processor.vendor), processor.name or ""
    if generations is None:
        return Family((), f"a processor of the vendor {processor.vendor!r}" if processor.vendor else "no vendor told")
    if "TCG" in name:
        return Family((), f"{name!r} is computed by software")
    number = f"the model number (family {processor.family}, model {processor.model})"
    row, shared = _row_of_number(processor), _QEMU.search(name) is not None
    least, proofs = _oldest(generations, processor.flags)
    known = next((i for i, g in enumerate(generations) if g.row == row), None)
    if known is not None and least <= known and not shared:
        return Family((generations[known].row,), f"family from {number}")
    if known is None and not shared and not _may_be_a_server(processor, name):
        return Family((), f"{number} is in no row")
    if strange := _strange(processor):
        return Family((), strange)
    evidence = [f"flags {', '.join(proofs)}"] if proofs else []
    if shared:
        evidence.insert(0, f"the CPU model {name!r}, which later processors show too")
        least = least if known is None else max(least, known)
    elif known is not None:
        evidence.append(f"which {number} contradicts")
    return _or_later(generations[max(0, least) :], evidence, least >= 0, None if shared else l2_kb)


def _may_be_a_server(processor: Processor, name: str) -> bool:
    if _NO_SERVER.search(name):
        return False
    return "hypervisor" in processor.flags or re.search(r"EPYC|Xeon|Opteron", name) is not None


def _or_later(generations: Sequence[_Generation], evidence: list[str], floor: bool, l2_kb: int | None) -> Family:
    """All of `generations`, or those with such a cache where there are some."""
    same = [g for g in generations if g.l2_kb == l2_kb]
    if same and len(same) < len(generations):
        generations, evidence = same, [*evidence, f"a second-level cache of {l2_kb:,} KB"]
    title = f"{generations[0].title} or later" if floor else "a processor that hides what it is"
    known_by = f"{title}, from {' and '.join(evidence)}" if evidence else title
    return Family(tuple(g.row for g in generations), known_by)


def _row_of_number(processor: Processor) -> str | None:
    match processor:
        case Processor(vendor="GenuineIntel", family=6, model=85, stepping=stepping):
            return "intel-skylake-server" if stepping <= 4 else "intel-cascadelake"  # Cooper Lake too: the same core
        case Processor(vendor="GenuineIntel", family=6, model=model):
            return _INTEL_FAMILY_6.get(model)
        case Processor(vendor="AuthenticAMD", family=family, model=model):
            return next((row for f, models, row in _AMD_MODELS if f == family and model in models), None)
    return None


def _oldest(generations: Sequence[_Generation], flags: frozenset[str]) -> tuple[int, list[str]]:
    """Place of the newest generation that a flag proves, and the flags that do; -1 where none proves any."""
    for place in range(len(generations) - 1, -1, -1):
        if found := list(_proofs(generations[place], flags)):
            return place, found
    return -1, []


def _proofs(generation: _Generation, flags: frozenset[str]) -> Iterator[str]:
    for proof in generation.proofs:
        if flags.issuperset(proof.split()):
            yield " with ".join(proof.split())


def _strange(processor: Processor) -> str | None:
    """What the flags of an Intel processor tell of a core that the table does not hold."""
    if processor.vendor != "GenuineIntel":
        return None
    if "avx_vnni" in processor.flags and "avx512f" not in processor.flags:
        return "flag avx_vnni without avx512f: Alder Lake, Sierra Forest or later, which the table does not hold"
    found = next((flag for flag in _STRANGE_INTEL if flag in processor.flags), None)
    return found and f"flag {found}: {_STRANGE_INTEL[found]}, which the table does not hold"


def _arm(processor: Processor) -> Family:
    implementer, part = processor.family, processor.model
    maker, core = _ARM_IMPLEMENTERS.get(implementer), _ARM_PARTS.get((implementer, part))
    number = f"implementer {implementer:#04x}, part {part:#05x}"
    row = _ARM_ROWS.get(core or "")
    if row:
        return Family((row,), f"{maker} {core}, family from {number}")
    return Family((), f"{maker or 'Arm'} {core}, from {number}" if core else f"{maker or 'Arm'}, {number}")
