"""Seconds and joules of one decoding step and of one prompt token, by arithmetic: bytes moved, operations, launches,
messages between devices, and the power that each of them takes.

Time is the roofline (Williams et al. 2009, doi:10.1145/1498765.1498785) plus what does not overlap:

    seconds = max(bytes / bandwidth reached, operations / peak reached) + launches + messages + host
    watts   = idle + (limit - idle) * (awake * busy + memory * bytes / s / peak + compute * operations / s / peak)

and where that is more than the limit, the clock falls until it is the limit. Busy: the share of the time in which
kernels run; a GPU whose host samples or schedules is not, one that shares its chip and its power with that host is.
Messages: two all-reduces a layer (Shoeybi et al. 2019, arXiv:1909.08053), a ring moving 2 (n - 1) / n of the data, in
log2 n rounds.

What the host takes. Eager torch launches every kernel by itself, ahead of the GPU: a step takes the longer of both. A
server schedules between steps (vLLM 0.5.3 spent 62% of its time so: https://blog.vllm.ai/2024/09/05/perf-update.html),
samples on the GPU over all logits of the batch, and reads others' prompts. llama.cpp samples on the host, one sequence
after the other, and lets several devices work one after the other, each on its layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.predicting.devices import CARD_KINDS, Device
from lightbulb.predicting.setting import Setting
from lightbulb.predicting.shapes import F16_BITS, ModelShape

GPU_KINDS = CARD_KINDS | {"apple", "jetson"}
PREFILL_TOKENS = 2048  # read at once (vLLM and llama.cpp cut longer prompts, eager torch does not)
LOGIT_BYTES = 300  # that a server moves for each logit: top-p sorts all of them with their places (radix, 8 passes)
SLOW_HOSTS = {"jetson": 3.0, "board": 3.0, "phone": 1.5}  # one thread there against one of a desktop or server
INT8_BITS = QUANT_TYPES["q8_0"].bits_per_weight  # up to here CPUs multiply in 8 bits, beyond in 32


@dataclass(frozen=True, slots=True)
class OpCount:
    """What one step of every device together takes.

    Attributes:
        weight_bytes: of weights read
        kv_bytes: of keys and values read
        operations: done
        tokens: made or read
        sampled: of these, those that something is sampled from
        message_bytes: that an all-reduce carries
    """

    weight_bytes: float
    kv_bytes: float
    operations: float
    tokens: float
    sampled: float
    message_bytes: float

    @property
    def bytes(self) -> float:
        """Read in all."""
        return self.weight_bytes + self.kv_bytes


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step costs.

    Attributes:
        seconds: by the clock
        joules: of the devices (their own boundary)
        bound_by: what took the longest
    """

    seconds: float
    joules: float
    bound_by: str


def decode_work(shape: ModelShape, setting: Setting) -> OpCount:
    """One token for each sequence of the batch: all weights that any of them needs once, and each sequence's keys and
    values."""
    seen = shape.tokens_seen(setting.context)
    attention = 4 * shape.layers * shape.attention_width * seen
    return OpCount(
        weight_bytes=shape.bytes_read_by(setting.batch),
        kv_bytes=setting.batch * (seen * shape.kv_bytes_per_token + 2 * shape.state_bytes),  # a state is written, too
        operations=setting.batch * (2 * shape.weights_per_token + attention),
        tokens=setting.batch,
        sampled=setting.batch,
        message_bytes=2 * setting.batch * shape.width,
    )


def prefill_work(shape: ModelShape, setting: Setting) -> OpCount:
    """A chunk of the prompts: the weights once for all its tokens, each seeing half of the context on average; the
    head is read for the last one only."""
    tokens = setting.batch * setting.context
    if setting.runtime != "eager":
        tokens = min(PREFILL_TOKENS, tokens)
    layers = shape.layers * shape.active_layer_parameters
    attention = 4 * shape.layers * shape.attention_width * shape.mean_tokens_seen(setting.context)
    return OpCount(
        weight_bytes=shape.layer_bytes_read_by(tokens),
        kv_bytes=tokens * shape.kv_bytes_per_token,
        operations=tokens * (2 * layers + attention),
        tokens=tokens,
        sampled=tokens / setting.context,
        message_bytes=2 * tokens * shape.width,
    )


def cost(work: OpCount, shape: ModelShape, device: Device, setting: Setting, c: Mapping[str, float]) -> StepCost:
    """Seconds and joules of one step.

    Args:
        work: what it takes
        shape: of the model
        device: that it runs on
        setting: how it runs
        c: the coefficients by name
    """
    side = "gpu" if device.kind in GPU_KINDS else "cpu"
    bandwidth, peak = device.bandwidth_gbs * 1e9, peak_operations(device, shape.bits)
    reach = device.bandwidth_efficiency or c[f"{'apple' if device.kind == 'apple' else side}_memory_reach"]
    paged = c["kv_reach"] if side == "gpu" else 1.0
    logits = LOGIT_BYTES * work.sampled * shape.vocabulary if setting.runtime == "vllm" else 0.0
    at_once = 1 if setting.runtime == "llama.cpp" else setting.devices
    memory = (work.weight_bytes + work.kv_bytes / paged + logits) / at_once / (bandwidth * reach)
    compute = work.operations / at_once / (peak * c[f"{side}_compute_reach"])
    beside = kernel_seconds(shape, device, setting, c) + messages(work, shape, device, setting, c)
    host = host_seconds(work, shape, device, setting, c)
    if setting.runtime == "eager":
        host = max(0.0, host - max(memory, compute) - beside)  # launched ahead, while the GPU works
    seconds = max(memory, compute) + beside + host
    alone = host if device.kind in CARD_KINDS else 0.0  # elsewhere the host draws what the kernels do not
    busy = (1 - alone / seconds) * at_once / setting.devices if side == "gpu" else 1.0  # threads spin where they wait
    watts = device.idle_watts + (device.power_watts - device.idle_watts) * (
        c[f"{side}_awake"] * busy
        + c[f"{side}_memory"] * (work.bytes + logits) / setting.devices / bandwidth / seconds
        + c[f"{side}_compute"] * work.operations / setting.devices / peak / seconds
    )
    times = {"memory bandwidth": memory, "compute": compute, "launches and messages": beside, "the host": host}
    bound_by = max(times, key=lambda name: times[name])
    if watts > device.power_watts:
        seconds, watts = seconds * watts / device.power_watts, device.power_watts
        bound_by = "power limit"
    seconds, watts = seconds * c["device_seconds"], watts * c["device_watts"]
    return StepCost(seconds, setting.devices * watts * seconds, bound_by)


def peak_operations(device: Device, bits: float) -> float:
    """Operations a second of the units that multiply weights of that width. GPUs widen to 16 bits first; a CPU without
    16-bit arithmetic spends as many operations on widening 16-bit weights as on multiplying them."""
    single = 1e12 * device.fp32_tflops
    if device.kind in GPU_KINDS:
        return 1e12 * (device.fp16_tflops or device.fp32_tflops)
    if bits <= INT8_BITS:
        return 1e12 * (device.int8_tops or device.fp32_tflops)
    return single / 2 if bits == F16_BITS and device.fp16_tflops is None else single


def kernel_seconds(shape: ModelShape, device: Device, setting: Setting, c: Mapping[str, float]) -> float:
    """What the layers of a step take on the device beside their arithmetic: starting kernels, joining threads."""
    if setting.runtime == "filament":
        return shape.layers * c["cpu_seconds"] / 4  # fused steps: two or three joins a layer, not ten
    if device.kind == "apple":
        return shape.layers * c["metal_seconds"]
    if device.kind in GPU_KINDS:
        return shape.layers * c["graph_seconds"] * SLOW_HOSTS.get(device.kind, 1.0)
    return shape.layers * c["cpu_seconds"]


def host_seconds(work: OpCount, shape: ModelShape, device: Device, setting: Setting, c: Mapping[str, float]) -> float:
    """What a step takes on the host."""
    slower = SLOW_HOSTS.get(device.kind, 1.0)
    match setting.runtime:
        case "eager":
            return slower * shape.layers * c["eager_seconds"]
        case "vllm":
            workers = c["worker_seconds"] if setting.devices > 1 else 0.0
            return slower * (c["serve_seconds"] + workers + work.sampled * c["sequence_seconds"])
        case "llama.cpp":
            return slower * (c["host_seconds"] + work.sampled * shape.vocabulary * c["logit_seconds"])
    return 0.0


def messages(work: OpCount, shape: ModelShape, device: Device, setting: Setting, c: Mapping[str, float]) -> float:
    """Seconds of two all-reduces a layer between the devices that share the weights."""
    if setting.devices == 1 or setting.runtime == "llama.cpp":
        return 0.0
    link = (device.link_gbs or 16.0) * 1e9 * c["link_reach"]  # PCIe 4 x16 at half, where nothing else is known
    share = 2 * (setting.devices - 1) / setting.devices
    return 2 * shape.layers * (c["link_seconds"] * math.log2(setting.devices) + share * work.message_bytes / link)


def bytes_needed(shape: ModelShape, setting: Setting) -> float:
    """Weights, keys and values, and a tenth for activations and buffers."""
    kept = setting.batch * (shape.tokens_seen(setting.context) * shape.kv_bytes_per_token + shape.state_bytes)
    return 1.1 * (shape.bytes_stored + kept)
