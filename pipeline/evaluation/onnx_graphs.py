"""An onnx export as a probe asks it, through onnxruntime: its graphs give the last states, and logits, and no more.

One sequence at a time, or several of one length: nothing is padded.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.errors import InputError
from pipeline.evaluation.model import Ids
from pipeline.evaluation.stock import of_one_length
from pipeline.export.onnx import open_session
from pipeline.export.onnx_graphs import ENCODER, FIRST_STEP, WHOLE

_LAYERS = ("num_layers", "num_hidden_layers", "encoder_layers")


class OnnxModel:
    """The graphs in an export's folder."""

    def __init__(self, folder: Path, vocab_size: int) -> None:
        self._folder, self._vocab_size = folder, vocab_size
        self.has_decoder = (folder / f"{ENCODER}.onnx").is_file()
        self._encoder = open_session(folder, ENCODER if self.has_decoder else WHOLE)
        self._decoder = open_session(folder, FIRST_STEP) if self.has_decoder else None
        self._inputs = {node.name for node in self._encoder.get_inputs()}
        fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.num_layers: int = next(fields[name] for name in _LAYERS if name in fields)

    @classmethod
    def load(cls, folder: Path, vocab_size: int) -> "OnnxModel":
        """From its folder; InputError where onnxruntime cannot read it."""
        try:
            return cls(folder, vocab_size)
        except Exception as error:  # whatever a library says of a damaged file
            raise InputError(f"{folder}: onnxruntime cannot load it: {error}; export it again") from error

    def embedding(self) -> torch.Tensor:
        """See Model."""
        raise self._lacks("no table of embeddings")

    def layers(self, sequences: Sequence[Ids]) -> Iterator[list[torch.Tensor]]:
        """See Model."""
        raise self._lacks("no layer but the last")

    def states(self, sequences: Sequence[Ids], layer: int | None = None) -> Iterator[torch.Tensor]:
        """See Model."""
        if layer not in (None, self.num_layers):
            raise self._lacks("no layer but the last")
        for ids_BR in of_one_length(sequences):
            yield from self._run("last_hidden_state", ids_BR)

    def row_logits(self, sequences: Sequence[Ids], rows: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
        """See Model."""
        wanted = iter(rows)
        for ids_BR in of_one_length(sequences):
            for logits_RV in self._run("logits", ids_BR):
                yield logits_RV[list(next(wanted)), : self._vocab_size]

    def decode(
        self, memories: Sequence[torch.Tensor], targets: Sequence[Ids], first: Sequence[int]
    ) -> Iterator[torch.Tensor]:
        """See Model."""
        assert self._decoder is not None, "asked before"
        for memory_SW, target, start in zip(memories, targets, first, strict=True):
            inputs = {
                "input_ids": np.array([list(target)], np.int64),
                "encoder_attention_mask": np.ones((1, len(memory_SW)), np.int64),
                "encoder_hidden_states": memory_SW[None].numpy(),
            }
            [logits_1RV] = self._decoder.run(["logits"], inputs)
            yield torch.from_numpy(logits_1RV[0, start:, : self._vocab_size])

    def _run(self, output: str, ids_BR: torch.Tensor) -> torch.Tensor:
        ids = ids_BR.numpy()
        given: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        [found] = self._encoder.run([output], {name: given[name] for name in self._inputs})
        return torch.from_numpy(found)

    def _lacks(self, what: str) -> InputError:
        return InputError(f"{self._folder}: the graphs of an onnx export give {what}: ask the hf export instead")
