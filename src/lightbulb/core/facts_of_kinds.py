"""What passes say of models that are no decoders, of their files, and of how sure a file is."""

from __future__ import annotations

from lightbulb.core.facts import AbstentionFacts, Facts, GgufFacts, ModelFacts
from lightbulb.core.figures import Figure


class EncoderFacts(ModelFacts):
    """Facts of an encoder.

    Attributes:
        name: for showing, of the weights it came from
        layers: how many
        width: of the vectors between them
        vocabulary: rows of the token embedding
        pooling: "mean" or "cls"
    """

    name: str | None = None
    layers: int
    width: int
    vocabulary: int
    pooling: str


class TrimmedEncoderFacts(EncoderFacts):
    """Facts of an encoder that lost tokens.

    Attributes:
        rows_before: of the token embedding
        rows: of it now
        bytes_before: of the weights' file
        unchanged_train_tokens: the share of train's texts that are cut as before
    """

    rows_before: int
    rows: int
    bytes_before: int
    unchanged_train_tokens: float


class LabelFacts(EncoderFacts):
    """Facts of an encoder that has learnt answers.

    Attributes:
        temperature: what its scores are divided by, from the validation split
        validation_nats: mean negative log-likelihood of that split before (nats); None without one
        calibrated_nats: the same after
        c: of the head: inverse strength of the penalty
        class_weight: likewise: how answers are weighted
        cross_validated: mean of the metric over folds of the train split, by which these two were chosen
        chosen_by: likewise, the metric on the validation split
        steps: of the optimizer, where there was one
        train_loss: mean over their last tenth
        trained_parameters: those that learned
        saw_validation: whether the head was learnt from the validation split, too: then all of the above is of the one
            before
    """

    temperature: float
    validation_nats: float | None = None
    calibrated_nats: float | None = None
    c: float | None = None
    class_weight: str | None = None
    cross_validated: float | None = None
    chosen_by: float | None = None
    steps: int | None = None
    train_loss: float | None = None
    trained_parameters: int | None = None
    saw_validation: bool = False


class NgramFacts(ModelFacts):
    """Facts of a classifier by n-grams in floating point.

    Attributes:
        rows: n-grams that were kept
        looked_at: of so many
        held_out: "validation", or "folds" of train where that is small
        score: the task's metric on them
        whole_score: the same before n-grams were left out
        score_error: its standard error
        temperature: what logits were divided by, from the same items
        nats: their mean negative log-likelihood after it (nats)
        calibration_error: their expected calibration error after it (Naeini et al. 2015, 15 bins)
        c: of the training: inverse strength of the penalty
        shift: what is added to the logits of each answer before the temperature; nothing unless all count alike
        words: shortest and longest n-gram of words that are looked at; (0, 0) for none
        chars: likewise, of characters
        saw_validation: whether the weights were learnt from the validation split, too: then all of the above is of
            those before
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
    c: float
    words: tuple[int, int]
    chars: tuple[int, int]
    shift: tuple[float, ...] = ()
    saw_validation: bool = False


class NgramFileFacts(GgufFacts):
    """Facts of an n-gram file.

    Attributes:
        rows: n-grams in the file
        calibration_error: expected, on the validation split, of its probabilities; None without such a split,
            and where it was learnt from
    """

    rows: int
    calibration_error: float | None = None


class SlotFacts(GgufFacts):
    """Facts of a file that fills in answers.

    Attributes:
        features: in the file
        looked_at: of so many
        fields: of the answers
        copied: of these, those whose values are copied from the text
        score: the task's metric on the validation split
        c: of the training: inverse strength of the penalty
        step: what 1 of the file's whole numbers is in the training's own
        saw_validation: whether it was learnt from the validation split, too: then `score` is of the file before
    """

    features: int
    looked_at: int
    fields: int
    copied: int
    score: float
    c: float
    step: float
    saw_validation: bool = False


class EncoderFileFacts(GgufFacts):
    """Facts of an encoder's file.

    Attributes:
        stock: what llama.cpp gives of the file by itself: the answers' "scores", or an "embedding" to which lightbulb
            applies the head
    """

    stock: str


class CascadeFacts(GgufFacts):
    """Facts of a cascade.

    Attributes:
        thresholds: of all stages but the last
        shares: of the validation items that each stage answers
        kept: score of the joint decision / that of the best stage alone, on the same items
    """

    thresholds: list[float]
    shares: list[float]
    kept: Figure


class CalibrationFacts(GgufFacts):
    """Facts of a file whose probabilities were looked at on validation.

    Attributes:
        calibration: temperature of a language model's answers; None where the file had its own
        nats_before: mean negative log-likelihood of the right answers at the temperature 1 (nats)
        nats_after: likewise, at that temperature
        abstention: what its threshold does there; None where it gives every answer
    """

    calibration: float | None = None
    nats_before: float | None = None
    nats_after: float | None = None
    abstention: AbstentionFacts | None = None


class ClassifierAgreementFacts(Facts):
    """How far a file answers what its model answers.

    Attributes:
        prompts: that were compared
        same_answer: share of them that both answer alike
        mean_log_prob_difference: of the log-probability (nats) of the answer that the file gives
        max_log_prob_difference: likewise
    """

    prompts: int
    same_answer: float
    mean_log_prob_difference: float
    max_log_prob_difference: float
