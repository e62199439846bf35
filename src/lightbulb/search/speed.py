"""How fast this machine trains: a few seconds of the products that training is made of."""

from __future__ import annotations

import math
import time

import torch

from lightbulb.train.forward import best_device, fast_math

PROBE_SECONDS = 1.5
# Share of the bare products' speed that training reaches: attention, norms, activations, padding. With 0.75 teachers
# took 1.16 to 1.35 times what was planned in quiet runs (docs/lab-notes.md).
REACHED = 0.6


def speeds(width: int, feed_forward: int, threads: int) -> tuple[float, float]:
    """`train_flops` where training will be, and of the CPU, where exported files answer."""
    training = train_flops(width, feed_forward, threads)
    if best_device().type == "cpu":
        return training, training
    return training, train_flops(width, feed_forward, threads, torch.device("cpu"))


def train_flops(width: int, feed_forward: int, threads: int, device: torch.device | None = None) -> float:
    """Floating-point operations a second, rounded to one step of 1.25 so that a plan does not hang on noise: the best
    of many short products, since other work on the machine only ever slows them down. device: None for the best."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    device = device or best_device()
    x_TD, w_DF = torch.randn(480, width, device=device), torch.randn(feed_forward, width, device=device)
    best, begin = 0.0, time.perf_counter()
    with fast_math(device), torch.no_grad():
        w_DF = w_DF.to(torch.get_autocast_dtype(device.type)) if torch.is_autocast_enabled(device.type) else w_DF
        while time.perf_counter() - begin < PROBE_SECONDS:
            start = time.perf_counter()
            torch.nn.functional.linear(x_TD, w_DF)
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = max(best, 2 * x_TD.numel() * feed_forward / (time.perf_counter() - start))
    torch.set_num_threads(before)
    return 1.25 ** math.floor(math.log(best * REACHED, 1.25))
