"""What is asked for of a training from text."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lightbulb.core.errors import UserError
from lightbulb.pretraining.shape import BLOCK, MOST_LAYERS, WIDEST, Architecture, Shape, shape_of_size, usual_inner
from lightbulb.runtimes import check_threads

LEARNING_RATES: dict[Architecture, float] = {"matmulfree": 4e-3, "hybrid": 4e-3, "transformer": 1e-3}
Ends = Literal["q8_0", "q6_k", "q4_k", "q4_0"]
TOKENS_PER_PARAMETER = 20  # what pays at a fixed cost of training (Hoffmann et al. 2022)
SMALLEST_VOCABULARY = 300  # 256 bytes, the end of a text, and a few words


class TrainingGoal(BaseModel):
    """What is asked for.

    Attributes:
        architecture: "matmulfree", "hybrid" (one layer of four has attention) or "transformer"
        size: parameters; the next three say what it leaves open, or all of it
        layers: how many
        width: of what goes from layer to layer, a multiple of 256
        feed_forward: inner width, likewise
        context: tokens of a row in training, and those that the model reads at once
        vocabulary: entries of a tokenizer that is learned from the text
        tokenizer: a model whose tokenizer is taken instead
        tokens: that are read, the same ones again where there are fewer; None: 20 for each parameter
        max_seconds: wall time for the whole run
        max_joules: for the training; None: any number
        learning_rate: at its highest; None: usual for the architecture
        batch_tokens: of a step
        decay: of the learning rate, to zero
        drop: what it is multiplied with from halfway on
        embedding: the type in the file of the embedding, which is the head as well, and of a transformer's layers
        seed: the only source of randomness
        threads: of the processor
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture = "matmulfree"
    size: float = Field(default=5e6, gt=0)
    layers: int | None = None
    width: int | None = None
    feed_forward: int | None = None
    context: int = 512
    vocabulary: int = 4096
    tokenizer: str | None = None
    tokens: float | None = None
    max_seconds: float = 3600.0
    max_joules: float | None = None
    learning_rate: float | None = None
    batch_tokens: int = 8192
    decay: Literal["cosine", "linear"] = "cosine"
    drop: float | None = None
    embedding: Ends = "q8_0"
    seed: int = 0
    threads: int = 2

    def shape(self, vocabulary: int) -> Shape:
        """The sizes of the model, for a tokenizer with so many entries."""
        usual = shape_of_size(self.size, vocabulary)
        width = self.width or usual.width
        inner = self.feed_forward or (usual.feed_forward if self.width is None else usual_inner(width))
        return Shape(self.layers or usual.layers, width, inner)

    @property
    def rate(self) -> float:
        """The learning rate at its highest."""
        return self.learning_rate or LEARNING_RATES[self.architecture]

    @property
    def usual_drop(self) -> float:
        """Ternary weights settle at half the learning rate; float weights need no such drop."""
        return self.drop or (1.0 if self.architecture == "transformer" else 0.5)

    @property
    def rows(self) -> int:
        """Of a step: how many texts of `context` tokens."""
        return max(1, self.batch_tokens // self.context)

    def check(self, processes: int = 1) -> None:
        """Raises UserError for what cannot be made.

        Args:
            processes: how many share each step
        """
        check_threads(self.threads)
        for name, most in (("layers", MOST_LAYERS), ("width", WIDEST), ("feed_forward", 4 * WIDEST)):
            value, step = getattr(self, name), 1 if name == "layers" else BLOCK
            if value is not None and (not 0 < value <= most or value % step):
                what = f"a multiple of {step} up to {most:,}" if step > 1 else f"between 1 and {most}"
                raise UserError(f"{name} must be {what}, not {value}", where=f"`{name}`", hint=f"`{name}={step}`")
        for name, least, usual in (
            ("context", 8, 512),
            ("vocabulary", SMALLEST_VOCABULARY, 4096),
            ("batch_tokens", self.context, max(8192, self.context)),
        ):
            if getattr(self, name) < least:
                raise UserError(
                    f"{name} must be {least:,} or more, not {getattr(self, name)}",
                    where=f"`{name}`",
                    hint=f"`{name}={usual}`",
                )
        for name, example in (("tokens", "2e6"), ("max_joules", "5000"), ("learning_rate", "2e-3"), ("drop", "0.5")):
            value = getattr(self, name)
            if value is not None and not (0 < value <= 1 if name in ("drop", "learning_rate") else value > 0):
                upper = " and at most 1" if name in ("drop", "learning_rate") else ""
                raise UserError(
                    f"{name} must be above 0{upper}, not {value:g}", where=f"`{name}`", hint=f"`{name}={example}`"
                )
        if self.rows % processes:
            even = -(-self.rows // processes) * processes * self.context
            raise UserError(
                f"a step of {self.rows} rows of {self.context:,} tokens cannot be shared by {processes} processes",
                where="`batch_tokens`",
                hint=f"`batch_tokens={even}`",
            )
