"""An encoder with a label head as a graph of ONNX, from token ids to probabilities, in float32."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lightbulb.core.errors import UserError
from lightbulb.core.version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from lightbulb.models.kinds.encoder_reading import EncoderFile

OPSET, IR_VERSION = 20, 10  # the first with Gelu, and what goes with it: ONNX Runtime from 1.18 on
FAR_BELOW = -1e9  # added to the score of a token that is padding: its weight is exactly 0
MOST_BYTES = 2**31 - 2**20  # of one file, by its format
IDS, MASK, OUTPUT, ANSWERS = "input_ids", "attention_mask", "probabilities", "answers"


def onnx_model(file: EncoderFile, sha256: str) -> bytes:
    """The file of the graph; the same encoder gives the same bytes.

    Args:
        file: what is exported
        sha256: of the file that it was read from

    Raises:
        UserError: it is larger than one file of ONNX may be
    """
    from onnx import checker

    if (size := sum(values.nbytes for values in file.weights.values())) > MOST_BYTES:
        raise UserError(f"in float32 this encoder takes {size:,} bytes, and a file of ONNX holds {MOST_BYTES:,}")
    model = _model(file, sha256)
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _model(file: EncoderFile, sha256: str) -> ModelProto:
    from onnx import TensorProto, helper

    graph = Graph(file)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"]) for name in (IDS, MASK)]
    answers = len(file.form.answers)
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["texts", answers])
    made = helper.make_graph(graph.nodes, "encoder", inputs, [output], graph.constants)
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lightbulb",
        producer_version=__version__,
    )
    helper.set_model_props(model, {ANSWERS: json.dumps(file.form.answers), "source_sha256": sha256})
    return model


class Graph:
    """Nodes and constants of an encoder.

    Attributes:
        nodes: in the order in which they are computed
        constants: the weights
    """

    def __init__(self, file: EncoderFile):
        self.file, self.spec = file, file.spec
        self.nodes: list[NodeProto] = []
        self.constants: list[Any] = []
        self._known: set[str] = set()
        self._mask_BT = self._node("Cast", MASK, to=1)
        h_BTD = self._embedded()
        far_B11T = self._far()
        for layer in range(self.spec.layers):
            h_BTD = self._layer(f"blk.{layer}.", h_BTD, far_B11T)
        self._answered(self._pooled(h_BTD))

    def _node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Adds a node; the name of its output."""
        from onnx import helper

        name = output or f"{kind.lower()}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def _constant(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        if name not in self._known:
            self._known.add(name)
            self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def _whole(self, *numbers: int) -> str:
        """A constant of whole numbers."""
        return self._constant("int64." + ".".join(map(str, numbers)), np.array(numbers, np.int64))

    def _embedded(self) -> str:
        """[texts, tokens, width], normed."""
        weights = self.file.weights
        words = self._node("Gather", self._constant("token_embd.weight", weights["token_embd.weight"]), IDS)
        places = weights["position_embd.weight"] + weights["token_types.weight"][:1]
        count = self._node("Shape", IDS, start=1, end=2)
        first = self._node("Slice", self._constant("places", places), self._whole(0), count, self._whole(0))
        return self._norm("token_embd_norm", self._node("Add", words, first))

    def _far(self) -> str:
        """[texts, 1, 1, tokens]: 0 for a token, FAR_BELOW for padding."""
        padding = self._node("Sub", self._constant("one", np.float32(1)), self._mask_BT)
        far = self._node("Mul", padding, self._constant("far", np.float32(FAR_BELOW)))
        return self._node("Unsqueeze", far, self._whole(1, 2))

    def _norm(self, name: str, h_BTD: str) -> str:
        parts = (self._constant(f"{name}.{part}", self.file.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self._node("LayerNormalization", h_BTD, *parts, axis=-1, epsilon=self.spec.epsilon)

    def _linear(self, name: str, h_BTD: str, scale: float = 1.0) -> str:
        """h W + b, both times `scale`."""
        weight, bias = (self.file.weights[f"{name}.{part}"] * np.float32(scale) for part in ("weight", "bias"))
        product = self._node("MatMul", h_BTD, self._constant(f"{name}.weight", weight.T))
        return self._node("Add", product, self._constant(f"{name}.bias", bias))

    def _heads(self, h_BTD: str, order: tuple[int, ...]) -> str:
        """[texts, tokens, heads, width of a head] in another order."""
        apart = self._node("Reshape", h_BTD, self._whole(0, 0, self.spec.heads, self.spec.width // self.spec.heads))
        return self._node("Transpose", apart, perm=order)

    def _layer(self, name: str, h_BTD: str, far_B11T: str) -> str:
        scale = (self.spec.width // self.spec.heads) ** -0.5
        q_BHTK = self._heads(self._linear(f"{name}attn_q", h_BTD, scale), (0, 2, 1, 3))
        k_BHKT = self._heads(self._linear(f"{name}attn_k", h_BTD), (0, 2, 3, 1))
        v_BHTK = self._heads(self._linear(f"{name}attn_v", h_BTD), (0, 2, 1, 3))
        scores = self._node("Add", self._node("MatMul", q_BHTK, k_BHKT), far_B11T)
        mixed = self._node("MatMul", self._node("Softmax", scores, axis=-1), v_BHTK)
        joined = self._node("Reshape", self._node("Transpose", mixed, perm=(0, 2, 1, 3)), self._whole(0, 0, -1))
        attended = self._node("Add", self._linear(f"{name}attn_output", joined), h_BTD)
        h_BTD = self._norm(f"{name}attn_output_norm", attended)
        inner = self._node("Gelu", self._linear(f"{name}ffn_up", h_BTD))
        return self._norm(f"{name}layer_output_norm", self._node("Add", self._linear(f"{name}ffn_down", inner), h_BTD))

    def _pooled(self, h_BTD: str) -> str:
        """[texts, width]."""
        if self.file.form.pooling == "cls":
            h_BD = self._node("Gather", h_BTD, self._constant("first", np.int64(0)), axis=1)
        else:
            mask_BT1 = self._node("Unsqueeze", self._mask_BT, self._whole(2))
            total = self._node("ReduceSum", self._node("Mul", h_BTD, mask_BT1), self._whole(1), keepdims=0)
            h_BD = self._node("Div", total, self._node("ReduceSum", mask_BT1, self._whole(1), keepdims=0))
        return self._node("LpNormalization", h_BD, axis=-1, p=2) if self.file.form.normalize else h_BD

    def _answered(self, h_BD: str) -> None:
        scores = self._linear("cls.output", h_BD, 1 / self.file.form.temperature)
        self._node("Softmax", scores, output=OUTPUT, axis=-1)


def files_beside(file: EncoderFile, name: str) -> Iterator[tuple[str, str]]:
    """(name, text) of what goes with model.onnx: the tokenizer, a program that uses both, and how."""
    from lightbulb.exporting.tables import templates

    given = {"name": name, "answers": file.form.answers, "positions": file.spec.positions, "version": __version__}
    yield "tokenizer.json", json.dumps(tokenizer_of_export(file), ensure_ascii=False)
    yield "classify.py", templates().get_template("classify.py.j2").render(given)
    yield "README.md", templates().get_template("onnx.md.j2").render(given)


def tokenizer_of_export(file: EncoderFile) -> dict[str, Any]:
    """tokenizer.json that cuts what is too long and pads what is asked together; special tokens in a text are text,
    because none is told of."""
    tokens = list(file.tokenizer["model"]["vocab"])
    pad = "[PAD]" if "[PAD]" in tokens else tokens[0]  # of no weight, whatever it is
    return file.tokenizer | {
        "added_tokens": [],
        "truncation": {
            "max_length": file.spec.positions,
            "strategy": "LongestFirst",
            "stride": 0,
            "direction": "Right",
        },
        "padding": {
            "strategy": "BatchLongest",
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": tokens.index(pad),
            "pad_type_id": 0,
            "pad_token": pad,
        },
    }
