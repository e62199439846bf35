"""What an exported classifier takes on microcontrollers: flash, stack and instructions, under emulation.

    python benchmarks/boards.py EXPORT [--texts FILE] [--limit 300]

EXPORT is a folder that `lightbulb export RUN --to c` wrote. It is compiled for each core below and run in QEMU on the
prompts of a JSONL file (tests/data/banking77/test.jsonl where none is named). Flash: what the compiler makes of the
one source file. Stack: how deep `classify` wrote below the stack pointer, the deepest of all texts. Instructions: what
QEMU counted (-icount shift=0), from call to return. The answers must be the same on every core. Nothing is said of
seconds: they hang on how fast a board's flash is read.

Debian: gcc-arm-none-eabi picolibc-arm-none-eabi qemu-system-arm gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf
qemu-system-misc.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightbulb.core import units
from lightbulb.exporting.boards import boards
from lightbulb.exporting.checking import texts_file
from lightbulb.exporting.record import RECORD, Export

ROOT = Path(__file__).resolve().parents[1]
MOST_STACK = 16 << 10  # bytes that are looked through
# Prints for each text its answer, the instructions of the call, and the bytes of stack that it wrote to.
PROGRAM = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "NAME.h"

#if defined(__riscv)
static uint32_t now(void)
{
    uint32_t count;

    __asm__ volatile(".option push\\n.option arch, +zicsr\\ncsrr %0, minstret\\n.option pop" : "=r"(count));
    return count;
}
#define SINCE(before, after) ((after) - (before))
#else /* SysTick counts down 24 bits at 25 MHz; an instruction takes a nanosecond of this machine's time */
static volatile uint32_t *const systick = (volatile uint32_t *)0xE000E010;
static uint32_t now(void)
{
    systick[1] = 0xFFFFFF;
    systick[0] = 5;
    return systick[2];
}
#define SINCE(before, after) ((((before) - (after)) & 0xFFFFFF) * 40)
#endif

int main(void)
{
    FILE *file = fopen("texts.bin", "rb");
    unsigned char size[4];

    while (file != NULL && fread(size, 1, 4, file) == 4) {
        size_t length = size[0] | size[1] << 8 | (size_t)size[2] << 16 | (size_t)size[3] << 24;
        char *text = malloc(length + 1);
        register unsigned char *top __asm__("sp");
        volatile unsigned char *stack = top;
        uint32_t before;
        int i, answer;

        if (text == NULL || fread(text, 1, length, file) != length)
            return 1;
        for (i = 1; i <= MOST_STACK; i++)
            stack[-i] = 0xA5;
        before = now();
        answer = NAME_classify(text, length);
        before = SINCE(before, now());
        for (i = MOST_STACK; i > 0 && stack[-i] == 0xA5; i--)
            ;
        printf("%d %lu %d\\n", answer, (unsigned long)before, i);
        free(text);
    }
    return 0;
}
"""
BARE = ("-display", "none", "-monitor", "none", "-serial", "none", "-chardev", "stdio,id=console")
SEMIHOSTING = ("-semihosting-config", "enable=on,target=native,chardev=console")
LIBRARY = ("--oslib=semihost", "--crt0=hosted", "-T", "picolibc.ld")


@dataclass(frozen=True)
class Core:
    """An instruction set that is compiled for and emulated.

    Attributes:
        name: for showing
        tools: what the names of its compiler and binutils begin with
        flags: of the compiler
        specs: of picolibc, where a semihosted C library lies
        memory: where program and data lie: (flash, RAM), 4 MiB each
        emulator: the command, without the program
    """

    name: str
    tools: str
    flags: tuple[str, ...]
    specs: Path
    memory: tuple[int, int]
    emulator: tuple[str, ...]

    @property
    def missing(self) -> str:
        """What must be installed first; "" for nothing."""
        found = {f"{self.tools}gcc": shutil.which(f"{self.tools}gcc"), self.emulator[0]: shutil.which(self.emulator[0])}
        absent = [name for name, path in found.items() if path is None]
        return ", ".join(absent + ([] if self.specs.exists() else [str(self.specs)]))

    def compile(self, folder: Path, *sources: str) -> None:
        """Makes `program` of sources in `folder`, and of each an object."""
        for source in sources:
            command = [f"{self.tools}gcc", *self.flags, f"--specs={self.specs}", "-std=gnu99", "-Os", "-c", source]
            subprocess.run(command, cwd=folder, check=True)
        flash, ram = self.memory
        places = {"__flash": flash, "__flash_size": 4 << 20, "__ram": ram, "__ram_size": 4 << 20}
        symbols = [f"-Wl,--defsym={name}={value:#x}" for name, value in {**places, "__stack_size": 64 << 10}.items()]
        objects = [source.replace(".c", ".o") for source in sources]
        command = [f"{self.tools}gcc", *self.flags, f"--specs={self.specs}", *LIBRARY, *symbols, *objects]
        subprocess.run([*command, "-o", "program"], cwd=folder, check=True)

    def run(self, folder: Path, *flags: str) -> list[str]:
        """Lines that `program` prints in the emulator."""
        command = [*self.emulator, *BARE, *SEMIHOSTING, *flags, "-kernel", "program"]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()

    def sections(self, folder: Path, name: str) -> tuple[int, int]:
        """Bytes of (machine code, constants) of an object, and nothing else in it."""
        command = [f"{self.tools}size", "-A", name]
        told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        sizes = {row[0]: int(row[1]) for row in re.findall(r"^(\.\S+)\s+(\d+)", told, re.MULTILINE)}
        code, constants = (sum(n for name, n in sizes.items() if name.startswith(s)) for s in (".text", ".rodata"))
        written = {name: n for name, n in sizes.items() if n and name.startswith((".data", ".bss", ".sdata", ".sbss"))}
        assert not written, f"data that is written: {written}"
        return code, constants


PICOLIBC = Path("/usr/lib/picolibc")
CORES = (
    Core(
        "ARM Cortex-M4",
        "arm-none-eabi-",
        ("-mcpu=cortex-m4", "-mthumb"),
        PICOLIBC / "arm-none-eabi" / "picolibc.specs",
        (0x00000000, 0x20000000),
        ("qemu-system-arm", "-machine", "mps2-an386"),
    ),
    Core(
        "ARM Cortex-M0+",
        "arm-none-eabi-",
        ("-mcpu=cortex-m0plus", "-mthumb"),
        PICOLIBC / "arm-none-eabi" / "picolibc.specs",
        (0x00000000, 0x20000000),
        ("qemu-system-arm", "-machine", "mps2-an385"),  # a Cortex-M3, which runs the code of a Cortex-M0+
    ),
    Core(
        "RV32IMAC",
        "riscv64-unknown-elf-",
        ("-march=rv32imac", "-mabi=ilp32"),
        PICOLIBC / "riscv64-unknown-elf" / "picolibc.specs",
        (0x80000000, 0x80400000),
        ("qemu-system-riscv32", "-machine", "virt", "-bios", "none"),
    ),
)


@dataclass(frozen=True)
class Taken:
    """What a classifier takes on one core. answers: by number; instructions: of each; all else in bytes."""

    answers: list[int]
    instructions: list[int]
    code: int
    constants: int
    stack: int


def taken(core: Core, export: Path, name: str, texts: Sequence[bytes]) -> Taken:
    """Compiles an export for a core and answers `texts` there."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for end in ("c", "h"):
            shutil.copy(export / f"{name}.{end}", folder)
        program = PROGRAM.replace("NAME", name).replace("MOST_STACK", str(MOST_STACK))
        (folder / "measure-texts.c").write_text(program)
        (folder / "texts.bin").write_bytes(texts_file(texts))
        core.compile(folder, f"{name}.c", "measure-texts.c")
        rows = [[int(part) for part in line.split()] for line in core.run(folder, "-icount", "shift=0")]
        answers, instructions, depths = (list(column) for column in zip(*rows, strict=True))
        return Taken(answers, instructions, *core.sections(folder, f"{name}.o"), max(depths))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--texts", type=Path, default=ROOT / "tests" / "data" / "banking77" / "test.jsonl")
    parser.add_argument("--limit", type=int, default=300)
    asked = parser.parse_args()
    record = Export.model_validate_json((asked.export / RECORD).read_text(encoding="utf-8"))
    lines = asked.texts.read_text(encoding="utf-8").splitlines()[: asked.limit]
    texts = [json.loads(line)["prompt"].encode() for line in lines]
    print(f"{record.ngrams:,} n-grams, {record.width} numbers each, {record.answers} answers; {len(texts):,} texts\n")
    measured = {core.name: taken(core, asked.export, record.name, texts) for core in CORES if not core.missing}
    print(table(measured))
    print()
    print(fits(record))
    for core in CORES:
        if core.missing:
            print(f"{core.name} was not measured: {core.missing} not found", file=sys.stderr)
    same = len({tuple(one.answers) for one in measured.values()}) <= 1
    print("" if same else "\nTHE ANSWERS DIFFER", file=sys.stderr)
    return 0 if same and measured else 1


def table(measured: dict[str, Taken]) -> str:
    """A row a core."""
    rows = [
        "| core | code | tables | stack | instructions an answer, median (least to most) |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, one in measured.items():
        least, middle, most = min(one.instructions), statistics.median(one.instructions), max(one.instructions)
        count = f"{middle:,.0f} ({least:,} to {most:,})"
        rows.append(f"| {name} | {one.code:,} B | {one.constants:,} B | {one.stack:,} B | {count} |")
    return "\n".join(rows)


def fits(record: Export) -> str:
    """A row a board."""
    assert record.flash is not None and record.ram is not None
    rows = [f"Needs {units.text(record.flash)} of flash, {units.text(record.ram)} of stack.", ""]
    rows += ["| board | core | flash | RAM | fits |", "|---|---|--:|--:|---|"]
    for board in boards():
        sizes = f"{board.flash_bytes // 1024:,} KiB | {board.ram_bytes // 1024:,} KiB"
        rows.append(
            f"| {board.label} | {board.core} | {sizes} | {'yes' if board.fits(record.flash, record.ram) else 'no'} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    raise SystemExit(main())
