"""Families of processors from what /proc/cpuinfo says of real machines, virtual ones that hide it, and odd ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightbulb.energy.estimate import estimate_joules
from lightbulb.energy.family import family_here, family_of, l2_kilobytes
from lightbulb.energy.processor import Processor, processor_name, read_processor
from lightbulb.energy.tables import read_table

ROWS = {row["family"] for row in read_table("cpu_watts_per_thread")}
INTEL = "GenuineIntel"
AMD = "AuthenticAMD"
BASE = "fpu vme de pse tsc msr pae cx8 apic sse sse2 ht syscall nx rdtscp lm pni ssse3 cx16 sse4_1 sse4_2 popcnt aes"
VM = f"{BASE} hypervisor"
SANDY = "xsave avx"
HASWELL = f"{SANDY} f16c rdrand movbe fma bmi1 avx2 smep bmi2 erms invpcid"
BROADWELL = f"{HASWELL} rdseed adx smap"
SKYLAKE = f"{BROADWELL} mpx clflushopt xsavec xgetbv1"
SKX = f"{SKYLAKE} avx512f avx512dq clwb avx512cd avx512bw avx512vl pku"
CLX = f"{SKX} avx512_vnni"
ICX = f"{CLX} avx512ifma sha_ni avx512vbmi avx512_vbmi2 gfni vaes vpclmulqdq avx512_bitalg avx512_vpopcntdq rdpid"
AMX = "amx_bf16 avx512_fp16 amx_tile amx_int8"
SPR = f"{ICX} avx_vnni avx512_bf16 wbnoinvd movdiri movdir64b {AMX}"
GNR = f"{SPR} amx_fp16"
ZEN = f"{SANDY} f16c rdrand movbe fma bmi1 avx2 smep bmi2 rdseed adx smap clflushopt sha_ni clzero sse4a svm"
ZEN2 = f"{ZEN} clwb rdpid wbnoinvd umip"
ZEN3 = f"{ZEN2} vaes vpclmulqdq invpcid erms fsrm pku"
ZEN4 = f"{ZEN3} avx512f avx512dq avx512ifma avx512cd avx512bw avx512vl avx512_bf16 avx512_vbmi2 gfni avx512_vnni"
ZEN5 = f"{ZEN4} avx_vnni movdiri movdir64b avx512_vp2intersect"
XEON = "Intel(R) Xeon(R) Processor"
SPR_ON = ("intel-sapphirerapids", "intel-emeraldrapids", "intel-graniterapids")
ICX_ON = ("intel-icelake", *SPR_ON)
CLX_ON = ("intel-cascadelake", *ICX_ON)
SKX_ON = ("intel-skylake-server", *CLX_ON)
HSW_ON = ("intel-haswell", "intel-broadwell", "intel-skylake-client", "intel-coffeelake", *SKX_ON)
ZEN_ON = tuple(f"amd-epyc-gen{n}" for n in range(1, 6))


def x86(vendor: str, family: int, model: int, name: str, flags: str = "", stepping: int = 1, l3: str = "512") -> str:
    """As Linux prints it, for two processors."""
    block = (
        f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {name}\n"
        f"stepping\t: {stepping}\nmicrocode\t: 0xffffffff\ncpu MHz\t\t: 2596.120\ncache size\t: {l3} KB\n"
        f"physical id\t: 0\nfpu\t\t: yes\nflags\t\t: {flags}\nbugs\t\t: spectre_v1\nbogomips\t: 5192.24\n"
        "address sizes\t: 48 bits physical, 48 bits virtual\npower management:\n\n"
    )
    return f"processor\t: 0\n{block}processor\t: 1\n{block}"


def arm(implementer: int, part: int, features: str = "fp asimd aes atomics asimddp") -> str:
    block = (
        f"BogoMIPS\t: 50.00\nFeatures\t: {features}\nCPU implementer\t: {implementer:#x}\nCPU architecture: 8\n"
        f"CPU variant\t: 0x3\nCPU part\t: {part:#05x}\nCPU revision\t: 1\n\n"
    )
    return f"processor\t: 0\n{block}processor\t: 1\n{block}"


def found(tmp_path: Path, text: str, l2_kb: int | None = None):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(text)
    if l2_kb is not None:
        for index, (level, size) in enumerate(((1, 48), (1, 32), (2, l2_kb), (3, 36608))):
            cache = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{index}"
            cache.mkdir(parents=True)
            (cache / "level").write_text(f"{level}\n")
            (cache / "size").write_text(f"{size}K\n")
    return family_here(tmp_path)


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (x86(AMD, 23, 1, "AMD EPYC 7551 32-Core Processor", f"{BASE} {ZEN}", 2), "amd-epyc-gen1"),
        (x86(AMD, 23, 49, "AMD EPYC 7R32", f"{VM} {ZEN2}", 0), "amd-epyc-gen2"),
        (x86(AMD, 25, 1, "AMD EPYC 7B13", f"{VM} {ZEN3}", 0), "amd-epyc-gen3"),
        (x86(AMD, 25, 17, "AMD EPYC 9R14", f"{VM} {ZEN4}"), "amd-epyc-gen4"),
        (x86(AMD, 25, 160, "AMD EPYC 9754 128-Core Processor", f"{BASE} {ZEN4}", 2), "amd-epyc-gen4"),
        (x86(AMD, 26, 2, "AMD EPYC", f"{VM} {ZEN5}"), "amd-epyc-gen5"),  # its name is hidden, its number is not
        (x86(AMD, 23, 49, "unknown", f"{VM} {ZEN2}"), "amd-epyc-gen2"),  # gVisor
        (x86(INTEL, 6, 45, "Intel(R) Xeon(R) CPU E5-2670 0 @ 2.60GHz", f"{BASE} {SANDY}", 7), "intel-sandybridge"),
        (x86(INTEL, 6, 63, "Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz", f"{BASE} {HASWELL}", 2), "intel-haswell"),
        (x86(INTEL, 6, 79, "Intel(R) Xeon(R) CPU @ 2.20GHz", f"{VM} {BROADWELL}", 0), "intel-broadwell"),
        (x86(INTEL, 6, 158, "Intel(R) Xeon(R) E-2288G CPU @ 3.70GHz", f"{BASE} {SKYLAKE}", 13), "intel-coffeelake"),
        (x86(INTEL, 6, 85, "Intel(R) Xeon(R) Platinum 8175M CPU @ 2.50GHz", f"{VM} {SKX}", 4), "intel-skylake-server"),
        (x86(INTEL, 6, 85, "Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz", f"{VM} {CLX}", 7), "intel-cascadelake"),
        (x86(INTEL, 6, 106, "Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz", f"{VM} {ICX}", 6), "intel-icelake"),
        (x86(INTEL, 6, 143, XEON, f"{VM} {SPR}", 8), "intel-sapphirerapids"),
        (x86(INTEL, 6, 143, XEON, f"{VM} {CLX}", 8), "intel-sapphirerapids"),  # flags hidden, the number not
        (x86(INTEL, 6, 207, "INTEL(R) XEON(R) PLATINUM 8581C CPU @ 2.10GHz", f"{VM} {SPR}", 2), "intel-emeraldrapids"),
        (x86(INTEL, 6, 173, "Intel(R) Xeon(R) 6985P-C", f"{VM} {GNR}"), "intel-graniterapids"),
        (arm(0x41, 0xD0C), "amd-neoverse-n1"),  # Graviton 2, Ampere Altra
    ],
)
def test_the_model_number_tells(tmp_path, text, row):
    family = found(tmp_path, text)
    assert family.rows == (row,) == (family.row,) and row in ROWS
    assert "family from" in family.known_by


@pytest.mark.parametrize(
    ("text", "l2_kb", "rows", "known_by"),
    [
        # a number that the table does not know yet, a name that says nothing
        (x86(INTEL, 6, 221, XEON, f"{VM} {SPR}"), None, SPR_ON, "Sapphire Rapids or later, from flags amx_tile"),
        (x86(INTEL, 19, 1, XEON, f"{BASE} {GNR}"), 2048, ("intel-graniterapids",), "from flags amx_fp16"),
        (x86(INTEL, 6, 1, XEON, f"{VM} {ICX}"), None, ICX_ON, "Ice Lake or later, from flags avx512_vbmi2"),
        (x86(INTEL, 6, 1, XEON, f"{VM} {ICX}"), 1280, ("intel-icelake",), "and a second-level cache of 1,280 KB"),
        (x86(INTEL, 6, 1, XEON, f"{VM} {ICX}"), 2048, SPR_ON, "2,048 KB"),
        (x86(INTEL, 6, 1, XEON, f"{VM} {ICX}"), 4096, ICX_ON, "Ice Lake or later"),  # a cache that QEMU makes up
        (x86(INTEL, 6, 1, XEON, f"{VM} {CLX} avx512_bf16"), None, CLX_ON, "Cascade Lake or later"),
        # QEMU's CPU models, with its numbers: of that processor or of any that came after it
        (x86(INTEL, 6, 85, "Intel Xeon Processor (Skylake, IBRS)", f"{VM} {SKX}", 4), None, SKX_ON, "Skylake servers"),
        (x86(INTEL, 6, 85, "Intel Xeon Processor (Cascadelake)", f"{VM} {CLX}", 6), 4096, CLX_ON, "Cascade Lake or"),
        (x86(INTEL, 6, 134, "Intel Xeon Processor (Icelake)", f"{VM} {ICX}", 0), None, ICX_ON, "Ice Lake or later"),
        (x86(INTEL, 6, 143, "Intel Xeon Processor (SapphireRapids)", f"{VM} {SPR}", 4), None, SPR_ON, "Sapphire Rap"),
        (x86(INTEL, 6, 60, "Intel Core Processor (Haswell, no TSX, IBRS)", f"{VM} {HASWELL}"), 4096, HSW_ON, "Haswell"),
        (x86(INTEL, 6, 61, "Intel Core Processor (Broadwell)", f"{VM} {BROADWELL}", 2), None, HSW_ON[1:], "Broadwell"),
        (x86(INTEL, 6, 94, "Intel Core Processor (Skylake)", f"{VM} {SKYLAKE}", 3), None, HSW_ON[2:], "Skylake or"),
        (
            x86(INTEL, 6, 42, "Intel Xeon E312xx (Sandy Bridge, IBRS update)", f"{VM} {SANDY}"),
            256,
            ("intel-sandybridge", *HSW_ON),
            "which later processors show too",
        ),
        (x86(INTEL, 6, 13, "QEMU Virtual CPU version 2.5+", f"{VM} {SPR}"), None, SPR_ON, "'QEMU Virtual CPU"),
        (x86(INTEL, 15, 6, "Common KVM processor", VM), 4096, ("intel-sandybridge", *HSW_ON), "hides what it is"),
        (x86(AMD, 15, 107, "QEMU Virtual CPU version 2.5+", VM), 512, ZEN_ON, "a processor that hides what it is"),
        (x86(AMD, 23, 1, "AMD EPYC Processor (with IBPB)", f"{VM} {ZEN}", 2), 512, ZEN_ON, "Zen or later"),
        (x86(AMD, 23, 49, "AMD EPYC-Rome Processor", f"{VM} {ZEN2}", 0), None, ZEN_ON[1:], "Zen 2 or later"),
        (x86(AMD, 25, 1, "AMD EPYC-Milan Processor", f"{VM} {ZEN3}"), None, ZEN_ON[2:], "Zen 3 or later"),
        (x86(AMD, 25, 17, "AMD EPYC-Genoa Processor", f"{VM} {ZEN4}", 0), 1024, ZEN_ON[3:], "Zen 4 or later"),
        (x86(INTEL, 6, 85, XEON).replace("85", "x"), None, ("intel-sandybridge", *HSW_ON), "hides what it is"),
        # what follows the newest row
        (x86(AMD, 26, 80, "AMD EPYC", f"{VM} {ZEN5}"), None, ZEN_ON[4:], "Zen 5 or later, from flags avx_vnni"),
        (x86(AMD, 27, 0, "AMD EPYC 9999", f"{BASE} {ZEN5}"), None, ZEN_ON[4:], "Zen 5 or later"),
        # numbers that the flags contradict: a hypervisor hides instructions, and cannot add one
        (x86(INTEL, 6, 63, "Intel(R) Xeon(R) CPU", f"{VM} {SPR}"), None, SPR_ON, "(family 6, model 63) contradicts"),
        (x86(INTEL, 6, 85, XEON, f"{VM} {CLX}", 4), 1024, ("intel-cascadelake",), "contradicts"),
        (x86(AMD, 23, 49, "AMD EPYC", f"{VM} {ZEN5}"), 1024, ZEN_ON[4:], "contradicts"),
        (x86(AMD, 25, 1, "AMD EPYC", f"{VM} {ZEN4}"), 512, ZEN_ON[3:], "contradicts"),  # and a cache that is not its
    ],
)
def test_flags_and_caches_tell_where_the_number_does_not(tmp_path, text, l2_kb, rows, known_by):
    family = found(tmp_path, text, l2_kb)
    assert family.rows == rows and set(rows) <= ROWS
    assert known_by in family.known_by
    method = estimate_joules(1.0, 1.0, 1, family).method
    assert family.known_by in method and all(row in method for row in rows)


@pytest.mark.parametrize(
    ("text", "known_by"),
    [
        (x86(AMD, 25, 0x21, "AMD Ryzen 9 5950X 16-Core Processor", f"{BASE} {ZEN3}"), "(family 25, model 33)"),
        (x86(AMD, 25, 0x21, "some: thing"), "is in no row"),
        (x86(AMD, 26, 0x44, "AMD Ryzen 9 9950X 16-Core Processor", f"{VM} {ZEN5}"), "is in no row"),  # passed through
        (x86(INTEL, 6, 151, "12th Gen Intel(R) Core(TM) i7-12700K", f"{BASE} {SKYLAKE} avx_vnni vaes"), "is in no row"),
        (x86(INTEL, 6, 175, "Intel(R) Xeon(R) 6766E", f"{BASE} {SKYLAKE} avx_vnni vaes"), "avx_vnni without avx512f"),
        (x86(INTEL, 6, 87, "Intel(R) Xeon Phi(TM) CPU 7250", f"{BASE} {BROADWELL} avx512f avx512er"), "Xeon Phi"),
        (x86(INTEL, 6, 140, "", f"{VM} {ICX} avx512_vp2intersect"), "Tiger Lake"),
        (x86(INTEL, 15, 6, "some: thing"), "is in no row"),
        (x86(AMD, 15, 107, "QEMU TCG CPU version 2.5+", f"{VM} {ZEN4}"), "computed by software"),
        (x86("VirtualApple", 6, 44, "VirtualApple @ 2.50GHz processor", BASE), "'VirtualApple'"),  # Rosetta in Docker
        (x86("HygonGenuine", 24, 1, "Hygon C86 7285 32-core Processor", f"{BASE} {ZEN}"), "'HygonGenuine'"),
        # Graviton 3
        (arm(0x41, 0xD40, "fp asimd sve bf16 i8mm"), "Arm Neoverse V1, from implementer 0x41, part 0xd40"),
        (arm(0x41, 0xD49), "Arm Neoverse N2"),  # Cobalt 100, Yitian 710
        (arm(0x41, 0xD4F), "Arm Neoverse V2"),  # Graviton 4, Grace, Axion
        (arm(0xC0, 0xAC3), "Ampere AmpereOne"),
        (arm(0x61, 0x022), "Apple M1"),
        (arm(0x6D, 0xD49), "Microsoft Cobalt 100"),
        (arm(0x00, 0x051), "Arm, implementer 0x00, part 0x051"),  # QEMU's -cpu max
        ("processor\t: 0\nhart\t: 0\nisa\t: rv64\n\n", "no vendor told"),
        ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\nrevision\t: 2.2\n", "no vendor told"),
        ("vendor_id       : IBM/S390\n# processors    : 2\nbogomips per cpu: 3241.00\n", "'IBM/S390'"),
        ("", "no /proc/cpuinfo"),
    ],
)
def test_what_the_table_does_not_hold_is_unknown_and_says_what_it_is(tmp_path, text, known_by):
    family = found(tmp_path, text)
    assert family.rows == () and family.row is None and known_by in family.known_by
    assert f"unknown family ({family.known_by}): pooled over 17" in estimate_joules(1.0, 1.0, 1, family).method


def test_no_file_is_an_unknown_family(tmp_path):
    assert family_here(tmp_path).rows == () and l2_kilobytes(tmp_path) is None
    assert read_processor(tmp_path / "absent") is None


def test_hiding_flags_never_names_a_newer_family(tmp_path):
    """Whatever subset of its flags a hypervisor lets through, the true row stays among those that are pooled."""
    for vendor, flags, row in ((INTEL, SPR, "intel-sapphirerapids"), (INTEL, CLX, "intel-cascadelake"),
                               (AMD, ZEN3, "amd-epyc-gen3"), (AMD, ZEN5, "amd-epyc-gen5")):  # fmt: skip
        words = flags.split()
        for n in range(len(words)):
            for kept in (words[:n], words[n:], words[:n] + words[n + 1 :]):
                family = family_of(Processor(vendor, 1, 1, 0, "KVM", frozenset([*kept, "hypervisor"])))
                assert row in family.rows or "without avx512f" in family.known_by


def test_one_reader_for_every_field(tmp_path):
    """Fields of boards come last, and lists of old kernels begin with a name of their own."""
    file = tmp_path / "cpuinfo"
    file.write_text(arm(0x41, 0xD08) + "Hardware\t: BCM2835\nRevision\t: c03111\nModel\t\t: Raspberry Pi 4 Model B\n")
    pi = read_processor(file)
    assert (pi.vendor, pi.family, pi.model, pi.threads) == ("arm", 0x41, 0xD08, 2)
    assert pi.name == "Raspberry Pi 4 Model B" == processor_name(file) and "asimddp" in pi.flags
    file.write_text(x86(AMD, 26, 2, "AMD EPYC", f"{VM} {ZEN5}"))
    epyc = read_processor(file)
    assert (epyc.name, epyc.stepping, epyc.threads) == ("AMD EPYC", 1, 2) and "avx512_vp2intersect" in epyc.flags
