"""What a search may try: depths, widths, ways of training, types of weights; bold first."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lightbulb.formats.gguf.quant_types import QuantTypeName
from lightbulb.shrinking.candidate import METHODS, Candidate, Method, Mixer
from lightbulb.tasks.task import TaskKind

DEPTHS = {
    "choose": (1 / 30, 1 / 15, 0.1, 2 / 15, 0.2, 4 / 15, 0.4, 0.6),
    "generate": (0.2, 4 / 15, 0.4, 0.6, 0.8),
    "text": (0.4, 0.6, 0.8),
}  # shares of the layers, bold first

FEED_FORWARDS = (0.5,)  # shares of the feed-forward that a student which holds is cut to, one after the other
BLOCK_TYPES: tuple[QuantTypeName, ...] = ("q4_0", "q8_0")  # of the layers, where blocks fit; bold first


class SearchSpace(BaseModel):
    """What may be tried.

    Attributes:
        depths: numbers of layers, bold first; empty where no student can be tried
        likely: the depth that the length of training is planned for
        quant_types: of the file's layers, bold first
        methods: of training, to be compared
        mixers: of its layers; another one than attention is tried beside a student of few layers that holds
        feed_forwards: shares of its feed-forward that a student which holds is cut to, one after the other
        others: candidates of other kinds, tried before any decoder
    """

    model_config = ConfigDict(frozen=True)

    depths: tuple[int, ...]
    likely: int
    quant_types: tuple[QuantTypeName, ...]
    methods: tuple[Method, ...] = METHODS
    mixers: tuple[Mixer, ...] = ("attention",)
    feed_forwards: tuple[float, ...] = FEED_FORWARDS
    others: tuple[Candidate, ...] = ()

    @staticmethod
    def of(layers: int, kind: TaskKind, fits_blocks: bool) -> SearchSpace:
        """The space of a model of so many layers.

        Args:
            fits_blocks: whether all of its matrices are whole blocks wide
        """
        depths = tuple(sorted({max(1, round(layers * share)) for share in DEPTHS[kind]}))
        types = BLOCK_TYPES if fits_blocks else ("f16",)
        return SearchSpace(depths=depths, likely=likely_depth(kind, depths), quant_types=types)

    def without_boldest(self, kind: TaskKind) -> SearchSpace:
        """Where it has another depth."""
        depths = self.depths[1:] or self.depths
        return self.model_copy(update={"depths": depths, "likely": likely_depth(kind, depths)})

    def with_methods(self, methods: tuple[Method, ...]) -> SearchSpace:
        return self.model_copy(update={"methods": methods})

    def without_students(self) -> SearchSpace:
        return self.model_copy(update={"depths": (), "likely": 0, "methods": METHODS[1:]})

    def candidate(self, layers: int, method: Method) -> Candidate:
        return Candidate(layers=layers, method=method)


def likely_depth(kind: TaskKind, depths: tuple[int, ...]) -> int:
    """A choice holds with fewer layers than a text."""
    return depths[min(2 if kind == "choose" else 1, len(depths) - 1)]
