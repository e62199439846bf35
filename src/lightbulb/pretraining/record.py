"""What a finished training has to say: training.json in its run folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lightbulb.core.errors import RunFailure
from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json, write_json
from lightbulb.pipeline.ledger import Cost
from lightbulb.pretraining.goal import TrainingGoal

DONE = "training.json"
POINTS = 200  # of the curve of the loss


class TrainingRecord(BaseModel):
    """One training.

    Attributes:
        lightbulb: version
        command: that was typed
        goal: what was asked for
        text: name of the data
        parameters: of the model; a tied matrix counts once
        layers: how many
        width: of what goes from layer to layer
        feed_forward: inner width
        vocabulary: rows of the embedding
        steps: of the optimizer
        tokens: read in them, rows counted as full; some several times where `epochs` is above 1
        epochs: times that the text was read
        train_loss: nats a token, mean over the last tenth of the steps
        losses: (steps done, mean of the loss over those since the point before), from first to last
        score: bits per byte of held-out text
        score_items: documents that it is of
        training: what the training took
        joules_per_token: of the training
        making: what the whole run took
        model: folder with config, weights and tokenizer
        gguf: the same as one file
        gguf_bytes: of it
        versions: of what decides bytes
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lightbulb: str
    command: str
    goal: TrainingGoal
    text: str
    parameters: int
    layers: int
    width: int
    feed_forward: int
    vocabulary: int
    steps: int
    tokens: int
    epochs: float
    train_loss: float
    losses: tuple[tuple[int, float], ...]
    score: Figure
    score_items: int
    training: Cost
    joules_per_token: Figure
    making: Cost
    model: str
    gguf: str
    gguf_bytes: int
    versions: dict[str, str]

    def write(self, path: Path) -> None:
        """As JSON."""
        write_json(path, self.model_dump(mode="json"))

    @staticmethod
    def read(path: Path) -> TrainingRecord:
        """What `write` wrote.

        Raises:
            RunFailure: it is no such record
        """
        try:
            return TrainingRecord.model_validate(read_json(path))
        except ValidationError as e:
            raise RunFailure(
                f"this is no record of a training that this version can read: {e.errors()[0]['msg']}",
                where=str(path),
                hint="repeat its command with another `out`",
            ) from e


def curve(losses: list[float]) -> tuple[tuple[int, float], ...]:
    """Means of at most POINTS stretches of equal length."""
    length = max(1, -(-len(losses) // POINTS))
    parts = [losses[at : at + length] for at in range(0, len(losses), length)]
    return tuple((min(n * length, len(losses)), sum(part) / len(part)) for n, part in enumerate(parts, 1))
