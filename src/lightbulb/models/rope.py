"""Rotary positions: what a config says of them, and the angles that follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict


class Rope(BaseModel):
    """Rotary positions (Su et al. 2021).

    Attributes:
        kind: transformers' `rope_type`
        base: of the geometric series of frequencies
        part: share of each head that is rotated
        factor: positions are stretched by it (kinds "linear" and "llama3")
        low_freq_factor: of kind "llama3": fewer turns in the original context are stretched whole
        high_freq_factor: likewise: more turns are left alone
        original_context: likewise: tokens that it was first trained with
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = "default"
    base: float = 10_000.0
    part: float = 1.0
    factor: float | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_context: int | None = None

    @staticmethod
    def of(parameters: Mapping[str, Any]) -> Rope:
        """From transformers' `rope_parameters`."""
        return Rope(
            kind=parameters.get("rope_type") or "default",
            base=parameters.get("rope_theta") or 10_000.0,
            part=parameters.get("partial_rotary_factor") or 1.0,
            factor=parameters.get("factor"),
            low_freq_factor=parameters.get("low_freq_factor"),
            high_freq_factor=parameters.get("high_freq_factor"),
            original_context=parameters.get("original_max_position_embeddings"),
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """transformers' `rope_parameters`."""
        optional = {
            "partial_rotary_factor": None if self.part == 1.0 else self.part,
            "factor": self.factor,
            "low_freq_factor": self.low_freq_factor,
            "high_freq_factor": self.high_freq_factor,
            "original_max_position_embeddings": self.original_context,
        }
        given = {key: value for key, value in optional.items() if value is not None}
        return {"rope_type": self.kind, "rope_theta": self.base, **given}

    def divisors(self, head_width: int) -> np.ndarray | None:
        """Llama 3's divisor of each frequency. Long waves are slowed by `factor`, short ones left alone, those between
        blended (Llama 3.1 model card).

        Returns:
            float32 [head_width / 2]; None for other kinds.
        """
        if self.kind != "llama3":
            return None
        assert self.factor and self.low_freq_factor and self.high_freq_factor and self.original_context
        wave = 2 * math.pi * self.base ** (np.arange(0, head_width, 2, dtype=np.float64) / head_width)
        turns = self.original_context / wave
        blend = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        blend = np.clip(blend, 0.0, 1.0)
        return (1 / ((1 - blend) / self.factor + blend)).astype(np.float32)

    def frequencies(self, head_width: int) -> np.ndarray:
        """Radians per position of each pair, float64 [head_width / 2]."""
        plain = self.base ** (-np.arange(0, head_width, 2, dtype=np.float64) / head_width)
        if self.kind == "linear":
            return plain / (self.factor or 1.0)
        divisors = self.divisors(head_width)
        return plain if divisors is None else plain / divisors
