"""BERT-shaped encoders with a linear head: read from a folder, applied to texts, written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from lightbulb.core.errors import ModelError
from lightbulb.core.files import read_json, write_json
from lightbulb.formats.gguf.wordpiece import read_wordpiece, special_ids, tokenizer_of, tokens_of
from lightbulb.models.kinds.encoder_source import check_encoder, pooling_of, tensor_names
from lightbulb.models.kinds.encoder_spec import HEAD, EncoderForm, EncoderSpec, Pooling, spec_of
from lightbulb.models.loading import TOKENIZER, WEIGHTS, plain_model_errors, quiet_transformers, write_weights

Advance = Callable[[float, str], None]  # of a progress bar
TOKENS_AT_ONCE = 4096  # more only takes memory


class WordPiece:
    """BERT's tokenizer: special tokens in a text are text like any other.

    Args:
        tokenizer: tokenizer.json
        positions: the most tokens of a text
    """

    def __init__(self, tokenizer: Mapping[str, Any], positions: int):
        self.tokenizer, self.positions = tokenizer, positions
        self.specials = special_ids(tokenizer)
        self._cutter = Tokenizer.from_str(json.dumps(tokenizer))
        self._cutter.encode_special_tokens = True

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each text, [CLS] and [SEP] among them; what is too long loses its end."""
        cls, sep, room = self.specials["cls"], self.specials["sep"], self.positions - 2
        return [[cls, *ids[:room], sep] for ids in self._cut(texts)]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, [CLS] and [SEP] among them, however long it is."""
        return [len(ids) + 2 for ids in self._cut(texts)]

    def _cut(self, texts: Sequence[str]) -> Iterator[list[int]]:
        whole = [_well_formed(text) for text in texts]
        return (encoding.ids for encoding in self._cutter.encode_batch_fast(whole, add_special_tokens=False))


def _well_formed(text: str) -> str:
    """Half a surrogate pair, which is no character, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Encoder(nn.Module):
    """An encoder, and a head where it has learnt answers.

    Attributes:
        spec: its sizes
        form: how it is read
        bert: transformers' BertModel without its pooler
        head: linear, from the pooled vector to the answers' scores; None without answers
        words: its tokenizer
    """

    def __init__(self, spec: EncoderSpec, form: EncoderForm, tokenizer: Mapping[str, Any]):
        from transformers import BertConfig, BertModel

        super().__init__()
        self.spec, self.form, self.words = spec, form, WordPiece(tokenizer, spec.positions)
        with quiet_transformers():
            config = BertConfig(**spec.config() | {"attn_implementation": "sdpa"})
            self.bert = BertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(spec.width, len(form.answers)) if form.answers else None

    @staticmethod
    def read(folder: Path) -> Encoder:
        """From the folder of an artifact of kind "encoder".

        Raises:
            ModelError: its files do not fit together
        """
        from safetensors import safe_open

        with plain_model_errors(folder):
            spec = spec_of(read_json(folder / "config.json"), str(folder / "config.json"))
            encoder = Encoder(spec, EncoderForm.read(folder), read_wordpiece(folder / TOKENIZER))
            with safe_open(folder / WEIGHTS, framework="pt") as file:
                encoder._take({name: file.get_tensor(name) for name in list(file.keys())})
            return encoder.eval()

    @staticmethod
    def from_checkpoint(folder: Path) -> Encoder:
        """From a folder as others write it, which `check_encoder` finds good: in float32, without heads of other tasks.

        Raises:
            ModelError: as `check_encoder`
            UnsupportedModel: likewise
        """
        from safetensors import safe_open

        spec = check_encoder(folder)
        encoder = Encoder(spec, EncoderForm(pooling=pooling_of(folder)), read_wordpiece(folder / TOKENIZER))
        weights = {}
        with plain_model_errors(folder):
            for name, (file, inside) in tensor_names(folder, spec).items():
                with safe_open(file, framework="pt") as opened:
                    weights[name] = opened.get_tensor(inside).float()
            encoder._take(weights)
            return encoder.eval()

    def _take(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Raises ModelError where weights are missing, left over, of the wrong shape, or no numbers."""
        if broken := next((name for name, values in weights.items() if not torch.isfinite(values).all()), None):
            raise ModelError(f"the weights {broken} hold what is no number", hint="download the model again")
        own = {f"bert.{name}": values for name, values in weights.items() if not name.startswith(f"{HEAD}.")}
        self.load_state_dict(own | {name: v for name, v in weights.items() if name.startswith(f"{HEAD}.")})

    def cut(self, layers: int, pooling: Pooling) -> Encoder:
        """Its first `layers` layers, read with `pooling`; the head is kept where neither changes."""
        same = layers == self.spec.layers and pooling == self.form.pooling
        kept = self.form if same else EncoderForm(pooling=pooling)
        other = Encoder(self.spec.with_layers(layers), kept, self.words.tokenizer)
        other.load_state_dict({name: self.state_dict()[name] for name in other.state_dict()})
        return other.eval()

    def with_answers(self, answers: tuple[str, ...], normalize: bool = False) -> Encoder:
        """The same with a head of zeros for `answers`, to be trained."""
        form = EncoderForm(pooling=self.form.pooling, answers=answers, normalize=normalize)
        other = Encoder(self.spec, form, self.words.tokenizer)
        assert other.head is not None
        other.bert.load_state_dict(self.bert.state_dict())
        nn.init.zeros_(other.head.weight)
        nn.init.zeros_(other.head.bias)
        return other.eval()

    def with_pieces(self, kept: Sequence[int], positions: int) -> Encoder:
        """The same with these pieces only (numbers, ascending), and so many rows of the table of positions."""
        tokens = tokens_of(self.words.tokenizer)
        tokenizer = tokenizer_of([tokens[i] for i in kept])
        spec = replace(self.spec, vocabulary=len(kept), positions=positions)
        state = self.state_dict()
        for table, rows in (("word", torch.tensor(kept)), ("position", torch.arange(positions))):
            name = f"bert.embeddings.{table}_embeddings.weight"
            state[name] = state[name][rows]
        other = Encoder(spec, self.form, tokenizer)
        other.load_state_dict(state)
        return other.eval()

    def freeze(self, layers: int) -> None:
        """The embeddings and the first `layers` layers stay as they are; 0: nothing does."""
        frozen = [self.bert.embeddings, *self.bert.encoder.layer[:layers]] if layers else []
        for part in frozen:
            part.requires_grad_(False)

    def weights(self) -> dict[str, torch.Tensor]:
        """Its tensors by transformers' names for a BertModel; the head's are `head.weight` and `head.bias`."""
        return {name.removeprefix("bert."): values for name, values in self.state_dict().items()}

    def save(self, folder: Path) -> None:
        """Writes the files of an artifact of kind "encoder"; the same encoder gives the same bytes."""
        write_weights(self.weights(), folder)
        write_json(folder / "config.json", self.spec.config())
        write_json(folder / TOKENIZER, self.words.tokenizer)
        self.form.write(folder)

    @property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def pooled(self, ids_BT: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """The vector of each text.

        Args:
            ids_BT: token ids, padded on the right
            lengths: tokens without padding

        Returns:
            [B, width].
        """
        whole = all(n == ids_BT.shape[1] for n in lengths)
        mask_BT = None if whole else torch.arange(ids_BT.shape[1])[None] < torch.tensor(lengths)[:, None]
        mask_BT = mask_BT if mask_BT is None else mask_BT.to(ids_BT.device)
        h_BTD = self.bert(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        if self.form.pooling == "cls":
            h_BD = h_BTD[:, 0]
        elif mask_BT is None:
            h_BD = h_BTD.mean(1)
        else:
            h_BD = (h_BTD * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)
        return functional.normalize(h_BD) if self.form.normalize else h_BD

    def scores(self, ids_BT: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """The scores [B, answers] of each text, before the temperature."""
        if self.head is None:
            raise ModelError("this encoder has learnt no answers", hint="run the pass fit-head or adapt-encoder first")
        return self.head(self.pooled(ids_BT, lengths))

    def embed(self, texts: Sequence[str], advance: Advance | None = None) -> np.ndarray:
        """The pooled vectors.

        Args:
            texts: to read
            advance: is told how many texts are done

        Returns:
            float32 [texts, width].
        """
        return self._of_texts(texts, self.pooled, advance)

    def scores_of(self, texts: Sequence[str], advance: Advance | None = None) -> np.ndarray:
        """The scores, float32 [texts, answers]."""
        return self._of_texts(texts, self.scores, advance)

    def log_probs(self, texts: Sequence[str]) -> np.ndarray:
        """Natural log-probabilities of the answers, float64 [texts, answers]."""
        scores_NC = torch.from_numpy(self.scores_of(texts)).double()
        return (scores_NC / self.form.temperature).log_softmax(-1).numpy()

    def _of_texts(
        self,
        texts: Sequence[str],
        function: Callable[[torch.Tensor, Sequence[int]], torch.Tensor],
        advance: Advance | None,
    ) -> np.ndarray:
        """Texts of one length go together, so that nothing is padded and no text depends on another's length."""
        encoded, device = self.words.encode(texts), next(self.parameters()).device
        rows: dict[int, np.ndarray] = {}
        with torch.inference_mode():
            for places in _alike(encoded):
                ids_BT = torch.tensor([encoded[i] for i in places], device=device)
                found = function(ids_BT, [ids_BT.shape[1]] * len(places)).cpu().numpy()
                rows |= zip(places, found, strict=True)
                if advance is not None:
                    advance(len(rows), f"{len(rows):,} of {len(texts):,} texts")
        width = len(self.form.answers) if function == self.scores else self.spec.width
        return np.stack([rows[i] for i in range(len(texts))]) if texts else np.zeros((0, width), np.float32)


def _alike(encoded: Sequence[Sequence[int]]) -> list[list[int]]:
    """Places of sequences in batches of one length, the shortest first, of at most TOKENS_AT_ONCE tokens."""
    batches: list[list[int]] = []
    for i in sorted(range(len(encoded)), key=lambda i: (len(encoded[i]), i)):
        length = len(encoded[i])
        last = batches[-1] if batches else []
        if not last or len(encoded[last[0]]) != length or (len(last) + 1) * length > TOKENS_AT_ONCE:
            batches.append([])
        batches[-1].append(i)
    return batches
