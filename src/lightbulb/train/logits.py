"""Teacher logits on disk: computed once, shared by every student.

One safetensors file: `log_probs` float16 [P, K] and `ids` int32 [P, K] for the P target positions of the train split
in order, `offsets` int64 [N + 1]: example n owns rows offsets[n]:offsets[n+1].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from lightbulb.core.progress import Progress
from lightbulb.models.form import Encoded
from lightbulb.ops.losses import top_k_log_probs
from lightbulb.train.data import in_order, micro_batches
from lightbulb.train.engine import forward_of
from lightbulb.train.forward import device_of, fast_math, kept_memory

FILE = "logits.safetensors"


class TeacherLogits:
    """What `write_logits` wrote.

    Args:
        folder: with the file
    """

    def __init__(self, folder: Path):
        tensors = load_file(folder / FILE)
        self.log_probs, self.ids, self.offsets = tensors["log_probs"], tensors["ids"], tensors["offsets"].tolist()

    def rows(self, examples: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """(log-probabilities [P, K] float32, token ids [P, K]) for the target positions of these examples, in order."""
        index = torch.cat([torch.arange(self.offsets[n], self.offsets[n + 1]) for n in examples])
        return self.log_probs[index].float(), self.ids[index].long()


@torch.no_grad()
def write_logits(
    model: PreTrainedModel,
    data: Sequence[Encoded],
    top_k: int,
    out: Path,
    batch_size: int,
    progress: Progress,
    label: str,
) -> int:
    """Reads every example once and writes the teacher's top-k log-probabilities.

    Args:
        model: the teacher
        data: encoded examples
        top_k: K, tokens kept at each position
        out: folder for the file
        batch_size: sequences read at once
        progress: where it reports
        label: of the progress

    Returns:
        The number of positions written.
    """
    offsets = torch.zeros(len(data) + 1, dtype=torch.long)
    offsets[1:] = torch.tensor([len(item.targets) for item in data]).cumsum(0)
    positions = int(offsets[-1])
    top_k = min(top_k, model.config.vocab_size)
    log_probs = torch.empty(positions, top_k, dtype=torch.float16)
    ids = torch.empty(positions, top_k, dtype=torch.int32)
    batches, forward = in_order(data, batch_size), forward_of(model)
    with kept_memory(), progress.bar(label, len(batches)) as advance:
        for done, examples in enumerate(batches, 1):
            for batch in micro_batches(data, examples):
                with fast_math(device_of(model)):
                    logits_PV = forward(model, batch)
                best, best_ids = top_k_log_probs(logits_PV, top_k)
                index = torch.cat([torch.arange(int(offsets[n]), int(offsets[n + 1])) for n in batch.examples])
                log_probs[index], ids[index] = best.half().cpu(), best_ids.int().cpu()
            advance(done, "")
    save_file({"log_probs": log_probs, "ids": ids, "offsets": offsets}, out / FILE)
    return positions
