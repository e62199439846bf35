"""How large a model is, and what it is: the same sizes for every architecture, so that they can be compared."""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple

from lightbulb.core.errors import UserError
from lightbulb.models.families import MATMULFREE, PLAIN_NORMS
from lightbulb.models.spec import LayerSpec, ModelSpec, Rope, attention_layer, mlgru_layer

Architecture = Literal["matmulfree", "hybrid", "transformer"]
BLOCK = 256  # widths are whole numbers of ternary blocks
HEAD_WIDTH = 64
WIDTH_PER_LAYER = 64  # of models that are neither deep nor flat
UNUSUAL = 0.1  # how much another shape counts against a size that is met better
ATTENTION_EVERY = 4  # in a hybrid: one layer of so many, as in models of today
WIDEST, MOST_LAYERS = 8192, 128


class Shape(NamedTuple):
    """Sizes of a model.

    Attributes:
        layers: how many
        width: of what goes from layer to layer
        feed_forward: inner width
    """

    layers: int
    width: int
    feed_forward: int


def parameters_of(text: str) -> float:
    """A number of parameters as it is said: "5m", "370M", "1.3b".

    Raises:
        UserError: it is none
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmb]?)", text.strip().lower())
    size = float(found[1]) * {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}[found[2]] if found else 0.0
    if size <= 0:
        raise UserError(f"{text!r} is not a number of parameters", where="`size`", hint="`size=5m` (or 370m, 1.3b)")
    return size


def usual_inner(width: int) -> int:
    """The inner width of a feed-forward: 8/3 of the width, in whole blocks (Llama, Touvron et al. 2023)."""
    return BLOCK * max(1, round(8 / 3 * width / BLOCK))


def shape_of_size(parameters: float, vocabulary: int) -> Shape:
    """The shape with about so many parameters, of which the embedding, which is the head as well, has its share."""

    def badness(shape: Shape) -> float:
        size = vocabulary * shape.width + shape.layers * layer_parameters(shape)
        usual = shape.width / shape.layers / WIDTH_PER_LAYER
        return abs(math.log(size / parameters)) + UNUSUAL * abs(math.log(usual))

    shapes = []
    for width in range(BLOCK, WIDEST + 1, BLOCK):
        one = Shape(1, width, usual_inner(width))
        layers = round((parameters - vocabulary * width) / layer_parameters(one))
        shapes.append(one._replace(layers=min(MOST_LAYERS, max(1, layers))))
    return min(shapes, key=badness)


def layer_parameters(shape: Shape) -> int:
    """Of the matrices of one layer: a mixer has four of the width, whichever it is."""
    return 4 * shape.width**2 + 3 * shape.width * shape.feed_forward


def spec_for(architecture: Architecture, shape: Shape, vocabulary: int, context: int) -> ModelSpec:
    """A model of that shape.

    Args:
        architecture: "transformer" is a Llama, with attention in every layer and weights of full precision
        shape: of the model
        vocabulary: rows of the embedding, which is the head as well
        context: tokens that it reads at once in training
    """
    heads, inner = shape.width // HEAD_WIDTH, shape.feed_forward
    if architecture == "transformer":
        plain = LayerSpec(
            heads=heads,
            kv_heads=heads,
            head_width=HEAD_WIDTH,
            feed_forward=inner,
            norms=tuple(PLAIN_NORMS.values()),  # type: ignore[arg-type]
        )
        layers = [plain] * shape.layers
    else:
        attends = attention_layer(inner, heads, heads, HEAD_WIDTH)
        last = ATTENTION_EVERY if shape.layers >= ATTENTION_EVERY else shape.layers
        hybrid = [architecture == "hybrid" and (n + 1) % last == 0 for n in range(shape.layers)]
        layers = [attends if with_attention else mlgru_layer(inner) for with_attention in hybrid]
    return ModelSpec(
        family="llama" if architecture == "transformer" else MATMULFREE,
        width=shape.width,
        vocabulary=vocabulary,
        vocabulary_out=vocabulary,
        tied=True,
        context=context,
        epsilon=1e-6,
        rope=Rope(),
        layers=tuple(layers),
    )
