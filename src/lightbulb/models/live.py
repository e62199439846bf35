"""The weights that a run wrote last, at hand for the step that reads them next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from lightbulb.core.artifact import Artifact


class LiveModel:
    """At most one model's weights, under the key of the artifact that holds them.

    A model is built anew around them from the other files of its folder, as if they had been read from there. So what a
    step left on its own model (gradients, frozen parts, hooks, a mode, a device) is gone, and so is every difference to
    a model from the disk: the bytes that come of it are the same.
    """

    def __init__(self) -> None:
        self._key: str | None = None
        self._weights: Mapping[str, torch.Tensor] = {}

    def keep(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Weights as they were written, of an artifact whose key is not known yet; nobody changes them from here on."""
        self._key, self._weights = None, weights

    def bind(self, key: str) -> None:
        """What was kept last is what the artifact `key` holds."""
        if self._weights and self._key is None:
            self._key = key

    def clear(self) -> None:
        """Lets the weights go."""
        self._key, self._weights = None, {}

    def take(self, artifact: Artifact) -> PreTrainedModel:
        """The artifact's model, for the caller to change: the weights at hand, if they are its, go with it."""
        weights = self._of(artifact)
        self.clear()
        return _load(artifact, weights)

    def read(self, artifact: Artifact) -> PreTrainedModel:
        """The artifact's model, to be read only: it shares the weights at hand, if they are its."""
        weights = self._of(artifact)
        if weights is None:
            self.clear()  # before another one is read
        return _load(artifact, weights)

    def _of(self, artifact: Artifact) -> Mapping[str, torch.Tensor] | None:
        return self._weights if artifact.key == self._key else None


def _load(artifact: Artifact, weights: Mapping[str, torch.Tensor] | None) -> PreTrainedModel:
    from lightbulb.models.loading import load_model

    return load_model(artifact.path, weights=weights)
