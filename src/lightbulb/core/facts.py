"""What passes say about their outputs: a frozen model for each kind of output, read with `Artifact.facts_as`.

A record of an earlier version may hold facts that are not known here, which are carried along, or lack some that are
not needed by everyone, which are None. A pass of a plugin declares its own class of facts as `Pass.facts_type`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lightbulb.core.figures import Figure


class Facts(BaseModel):
    """What any output may have.

    answer_ids: of a "choose" task, the token of each answer in the order of the answers; it stays true of what is made
    from it unless a pass says otherwise. findings: sentences about what was noticed or changed.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    answer_ids: list[int] | None = None
    findings: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As lightbulb.json holds them: those that were told, JSON-able."""
        return self.model_dump(mode="json", include=self.model_fields_set)


class ModelFacts(Facts):
    """bytes: of the weights' file."""

    parameters: int | None = None
    bytes: int | None = None


class ImportFacts(ModelFacts):
    """name: for showing. family: transformers' model_type."""

    name: str
    family: str
    layers: int
    width: int
    vocabulary: int
    tied: bool


class TrainingFacts(ModelFacts):
    """steps: of the optimizer. train_loss: mean over their last tenth."""

    steps: int
    train_loss: float
    trained_parameters: int | None = None


class QuantizingFacts(ModelFacts):
    """steps, train_loss: of the recovery, where there was one."""

    steps: int | None = None
    train_loss: float | None = None


class EncoderFacts(ModelFacts):
    """name: for showing, of the weights it came from. pooling: "mean" or "cls"."""

    name: str | None = None
    layers: int
    width: int
    vocabulary: int
    pooling: str


class LabelFacts(EncoderFacts):
    """Of an encoder that has learnt answers.

    temperature: what its scores are divided by, from the validation split, whose mean negative log-likelihood (nats)
    is `validation_nats` before and `calibrated_nats` after; None without such a split. c, class_weight: of the head,
    chosen by `cross_validated`, the mean of the metric over folds of the train split.
    """

    temperature: float
    validation_nats: float | None = None
    calibrated_nats: float | None = None
    c: float | None = None
    class_weight: str | None = None
    cross_validated: float | None = None
    steps: int | None = None
    train_loss: float | None = None
    trained_parameters: int | None = None


class NgramFacts(ModelFacts):
    """Of a classifier by n-grams in floating point.

    rows: n-grams that were kept, of those `looked_at`. c, class_weight, epochs, width: of the training, those that it
    has. score: the task's metric on `held_out`, which is "validation", or "folds" of train where that is small;
    whole_score: the same before n-grams were left out; score_error: its standard error. temperature: what logits were
    divided by, from the same items, whose mean negative log-likelihood (nats) is `nats` and whose expected calibration
    error (Naeini et al. 2015, 15 bins) `calibration_error` after it.
    """

    rows: int
    looked_at: int
    held_out: str
    score: float
    whole_score: float
    score_error: float
    temperature: float
    nats: float
    calibration_error: float
    c: float | None = None
    class_weight: str | None = None
    width: int | None = None
    epochs: int | None = None


class PruningFacts(ModelFacts):
    """influence: of every layer that there was."""

    kept_layers: list[int]
    influence: list[float]


class TrimmingFacts(ModelFacts):
    """tokens: that were kept; rows: of the embedding, padded. unchanged_train_tokens: share, 1 unless it is broken."""

    rows_before: int
    rows: int
    tokens: int
    bytes_before: int
    unchanged_train_tokens: float | None = None


class GgufFacts(Facts):
    """quantization: type -> number of tensors. fallbacks: tensors that do not fit their type. unchanged: whether all
    quantized weights lay on their grid already. context_length: in tokens; None where any length is read."""

    architecture: str
    bytes: int
    parameters: int
    bits_per_weight: float
    quantization: dict[str, int]
    fallbacks: list[str]
    unchanged: bool
    context_length: int | None = None


class NgramFileFacts(GgufFacts):
    """rows: n-grams in the file. calibration_error: expected, on the validation split, of its probabilities; None
    without such a split."""

    rows: int
    calibration_error: float | None = None


class EncoderFileFacts(GgufFacts):
    """stock: what llama.cpp gives of the file by itself: the answers' "scores", or an "embedding" to which lightbulb
    applies the head."""

    stock: str


class LogitsFacts(Facts):
    """positions: whose likeliest tokens are held."""

    positions: int


class ScoreFacts(Facts):
    """items: that were answered. num_prompts: different ones among them; the tokens are theirs."""

    score: Figure
    items: int
    num_prompts: int
    prompt_tokens: int
    output_tokens: int


class AgreementFacts(Facts):
    """Shares of `prompts` on which a file and its model agree, and how far a token's log-probability is off (nats)."""

    same_text: float
    same_tokens: float
    same_choice: float
    prompts: int
    mean_log_prob_difference: float
    max_log_prob_difference: float


class ClassifierAgreementFacts(Facts):
    """same_answer: share of `prompts` that a file and its model answer alike. The differences are of the
    log-probability (nats) of the answer that the file gives."""

    prompts: int
    same_answer: float
    mean_log_prob_difference: float
    max_log_prob_difference: float


class ImportCheckFacts(AgreementFacts):
    """read: prompts whose text and tokens were compared; same_tokens is the share of these."""

    read: int


class CostFacts(Facts):
    """Figures by the role of each file that was measured."""

    __pydantic_extra__: dict[str, dict[str, Figure]] = Field(init=False)

    @property
    def roles(self) -> dict[str, dict[str, Figure]]:
        return self.__pydantic_extra__


class TaskFacts(Facts):
    """task_kind, metric: as `Task` has them. train, validation, test, answers: how many there are."""

    task_kind: str
    metric: str
    fingerprint: str
    train: int
    validation: int
    test: int
    answers: int
