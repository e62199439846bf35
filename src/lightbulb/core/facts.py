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

    Attributes:
        answer_ids: of a "choose" task, the token of each answer in the order of the answers; it stays true of what is
            made from it unless a pass says otherwise
        layer_order: of an elastic model, layers in the order in which they leave; the channels of its feed-forwards
            stand by their importance, too. It stays true likewise
        findings: sentences about what was noticed or changed
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    answer_ids: list[int] | None = None
    layer_order: list[int] | None = None
    findings: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As lightbulb.json holds them: those that were given, JSON-able."""
        return self.model_dump(mode="json", include=self.model_fields_set)


class ModelFacts(Facts):
    """Facts of a model.

    Attributes:
        parameters: weights; a tied matrix counts once
        bytes: of the weights' file
    """

    parameters: int | None = None
    bytes: int | None = None


class FormatFacts(ModelFacts):
    """Facts of a model in the task's form.

    Attributes:
        phrases: runs of tokens of its answers that are one token now
    """

    phrases: int = 0


class ImportFacts(ModelFacts):
    """Facts of a model that was imported.

    Attributes:
        name: for showing
        family: transformers' model_type
        layers: how many
        width: of what goes from layer to layer
        vocabulary: rows of the embedding
        tied: the head is the embedding
    """

    name: str
    family: str
    layers: int
    width: int
    vocabulary: int
    tied: bool


class TrainingFacts(ModelFacts):
    """Facts of a model that was trained.

    Attributes:
        steps: of the optimizer
        train_loss: mean over their last tenth
        trained_parameters: those that learned, where not all did
    """

    steps: int
    train_loss: float
    trained_parameters: int | None = None


class QuantizingFacts(ModelFacts):
    """Facts of a model whose weights were rounded.

    Attributes:
        steps: of the recovery, where there was one
        train_loss: likewise
        bits_per_weight: of all matrices in blocks
        types: the type of each of them by its name in a file, where they were chosen one by one
    """

    steps: int | None = None
    train_loss: float | None = None
    bits_per_weight: float | None = None
    types: dict[str, str] | None = None


class ImportanceFacts(Facts):
    """Facts of what a task's text tells of a model's matrices.

    Attributes:
        tokens: that were read
        sensitivities: KL divergence (nats) of the answers from the model's own when one matrix alone is rounded to
            q4_0, by its name
    """

    tokens: int
    sensitivities: dict[str, float]


class PruningFacts(ModelFacts):
    """Facts of a model that lost layers.

    Attributes:
        kept_layers: indices of those it kept
        influence: of every layer that there was; None where they went by the loss
        removed_layers: indices of those it lost, in the order in which they went, where they went by the loss
        losses: likewise, the task's loss (nats) before any was removed and after each
    """

    kept_layers: list[int]
    influence: list[float] | None = None
    removed_layers: list[int] | None = None
    losses: list[float] | None = None


class MixerFacts(ModelFacts):
    """Facts of a model whose attention was replaced.

    Attributes:
        replaced_layers: whose, counted from 0
        explained: of each, the share of what attention gave, in squares, that the new mixer gives before any training
    """

    replaced_layers: list[int]
    explained: list[float]


class WidthFacts(ModelFacts):
    """Facts of a model that was made narrower.

    Attributes:
        width: of the hidden states
        feed_forward: inner width of each layer; 0 where it has none (likewise the next two)
        heads: of queries
        kv_heads: of keys and values
    """

    width: int
    feed_forward: list[int]
    heads: list[int]
    kv_heads: list[int]


class BlockFacts(Facts):
    """Facts of what the parts of a decoder are worth, each tried alone: how much the loss (nats a target) rises.

    Attributes:
        loss: of the whole model
        targets: that it is the mean of
        without: a layer, by its place
        feed_forward: a layer's feed-forward at a share of its channels: share -> rises by layer
        groups: likewise, of its groups of heads
        rounded: all matrices of a role rounded to a type: role -> type -> rise
    """

    loss: float
    targets: int
    without: list[float]
    feed_forward: dict[str, list[float]]
    groups: dict[str, list[float]]
    rounded: dict[str, dict[str, float]]


class SparsityFacts(ModelFacts):
    """Facts of a model with weights set to zero.

    Attributes:
        zeros: weights of the layers' matrices that are zero
        share: of these matrices
        saving: joules of an answer that this saves: always None, because no runtime here skips zeros and files store
            them as any other weight
    """

    zeros: int
    share: float
    saving: None = None


class TrimmingFacts(ModelFacts):
    """Facts of a model that lost tokens.

    Attributes:
        rows_before: of the embedding
        rows: of it now, padded
        tokens: that were kept
        bytes_before: of the weights' file
        unchanged_train_tokens: share, 1 unless it is broken
    """

    rows_before: int
    rows: int
    tokens: int
    bytes_before: int
    unchanged_train_tokens: float | None = None


class GgufFacts(Facts):
    """Facts of a GGUF.

    Attributes:
        architecture: llama.cpp's name, or ours
        bytes: of the file
        parameters: weights of all tensors
        bits_per_weight: scales included, header left out
        quantization: type -> number of tensors
        fallbacks: tensors that do not fit their type
        unchanged: whether the type of each matrix holds it as it is
        context_length: tokens; None where any length is read
    """

    architecture: str
    bytes: int
    parameters: int
    bits_per_weight: float
    quantization: dict[str, int]
    fallbacks: list[str]
    unchanged: bool
    context_length: int | None = None


class LogitsFacts(Facts):
    """Facts of a teacher's logits.

    Attributes:
        positions: whose likeliest tokens are held
    """

    positions: int


class AbstentionFacts(BaseModel):
    """What becomes of answers where those that are not probable enough are left out.

    Attributes:
        threshold: the least probability of an answer that is given
        precision: of the answers given the share that is right, questions counted that none of the answers fits
        coverage: of the questions that have an answer, the share that gets one
        recall: of those that none fits, the share that gets none; None where there were none
        items: how many of the former there were
        outside: how many of the latter
        share: of all questions that the latter stand for in the precision
    """

    model_config = ConfigDict(frozen=True)

    threshold: float
    precision: Figure
    coverage: Figure
    recall: Figure | None = None
    items: int
    outside: int
    share: float


class ScoreFacts(Facts):
    """Facts of an evaluation.

    Attributes:
        score: the task's metric
        items: that were answered
        num_prompts: different ones among them
        prompt_tokens: of these
        output_tokens: likewise
        abstention: what leaving out answers does, of a file that does so; the score is that of all answers
    """

    score: Figure
    items: int
    num_prompts: int
    prompt_tokens: int
    output_tokens: int
    abstention: AbstentionFacts | None = None


class AgreementFacts(Facts):
    """How far a file says what its model says.

    Attributes:
        same_text: share of prompts with the same rendered text
        same_tokens: share of prompts with the same token ids
        same_choice: share of prompts with the same likeliest token
        prompts: that were compared
        mean_log_prob_difference: of that token's log-probability (nats)
        max_log_prob_difference: likewise
    """

    same_text: float
    same_tokens: float
    same_choice: float
    prompts: int
    mean_log_prob_difference: float
    max_log_prob_difference: float


class ImportCheckFacts(AgreementFacts):
    """As `AgreementFacts`, of an imported model.

    Attributes:
        read: prompts whose text and tokens were compared; same_tokens is the share of these
    """

    read: int


class CostFacts(Facts):
    """Figures by the role of each file that was measured."""

    __pydantic_extra__: dict[str, dict[str, Figure]] = Field(init=False)

    @property
    def roles(self) -> dict[str, dict[str, Figure]]:
        """The figures by role, then by name."""
        return self.__pydantic_extra__


class TaskFacts(Facts):
    """Facts of a task.

    Attributes:
        task_kind: as `Task` has it
        metric: likewise
        fingerprint: of all that can change a result in it
        train: examples
        validation: examples
        test: examples
        answers: how many there are
    """

    task_kind: str
    metric: str
    fingerprint: str
    train: int
    validation: int
    test: int
    answers: int
