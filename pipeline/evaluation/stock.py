"""An exported model as a probe asks it, through transformers itself: what anyone who loads the folder gets.

One sequence at a time, or several of one length: nothing is padded.
"""

import inspect
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from data_prep.errors import InputError
from pipeline.evaluation.model import ROWS_AT_ONCE, Ids
from pipeline.export.libraries import quiet_transformers


class StockModel:
    """The model in an export's folder, as transformers' class of its config.json."""

    def __init__(self, model: Any, vocab_size: int) -> None:
        self._model, self._vocab_size = model, vocab_size
        self.has_decoder = bool(model.config.is_encoder_decoder)
        self._encoder = model.get_encoder() if self.has_decoder else getattr(model, "base_model", model)
        self._encoder = getattr(self._encoder, "encoder", self._encoder) if _is_t5_encoder(model) else self._encoder
        self.num_layers: int = model.config.num_hidden_layers

    @classmethod
    def load(cls, folder: Path, vocab_size: int) -> "StockModel":
        """From its folder; InputError where transformers does not know or cannot read it."""
        transformers = quiet_transformers()
        name = class_name(folder)
        model_class = getattr(transformers, name, None)
        if model_class is None:
            raise InputError(f"{folder / 'config.json'}: transformers has no class {name!r}")
        # No run of ours trains BERT's pooler; the class would draw one.
        takes_pooler = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
        options = {"add_pooling_layer": False} if takes_pooler else {}
        try:
            model = model_class.from_pretrained(folder, dtype=torch.float32, local_files_only=True, **options)
        except Exception as error:  # whatever a library says of a damaged file
            raise InputError(f"{folder}: {name} cannot be loaded: {error}; export it again") from error
        return cls(model.eval(), vocab_size)

    def embedding(self) -> torch.Tensor:
        """See Model."""
        table: torch.Tensor = self._model.get_input_embeddings().weight.detach()
        return table[: self._vocab_size]

    @torch.no_grad()
    def layers(self, sequences: Sequence[Ids]) -> Iterator[list[torch.Tensor]]:
        """See Model."""
        for ids_BR in of_one_length(sequences):
            out = self._encoder(input_ids=ids_BR, output_hidden_states=True)
            taps = [*out.hidden_states[: self.num_layers], out.last_hidden_state]
            for n in range(len(ids_BR)):
                yield [tap[n] for tap in taps]

    @torch.no_grad()
    def states(self, sequences: Sequence[Ids], layer: int | None = None) -> Iterator[torch.Tensor]:
        """See Model."""
        for taps in self.layers(sequences):
            yield taps[-1] if layer in (None, self.num_layers) else self._last_norm(taps[layer or 0])

    @torch.no_grad()
    def row_logits(self, sequences: Sequence[Ids], rows: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
        """See Model."""
        done = 0
        for ids_BR in of_one_length(sequences):
            for logits_RV in self._model(input_ids=ids_BR).logits:
                yield logits_RV[list(rows[done]), : self._vocab_size]
                done += 1

    @torch.no_grad()
    def decode(
        self, memories: Sequence[torch.Tensor], targets: Sequence[Ids], first: Sequence[int]
    ) -> Iterator[torch.Tensor]:
        """See Model."""
        for memory_SW, target, start in zip(memories, targets, first, strict=True):
            ids = torch.tensor([list(target)])
            out = self._model(encoder_outputs=(memory_SW[None],), decoder_input_ids=ids, use_cache=False)
            yield out.logits[0, start:, : self._vocab_size]

    def _last_norm(self, states_RW: torch.Tensor) -> torch.Tensor:
        for name in ("final_layer_norm", "final_norm"):  # T5's and ModernBERT's; the others normalise in each layer
            if (norm := getattr(self._encoder, name, None)) is not None:
                return norm(states_RW)
        return states_RW


def config_fields(folder: Path) -> dict[str, Any]:
    """What config.json in `folder` says; InputError where it cannot be read."""
    path = folder / "config.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}; export it again") from None
    return fields if isinstance(fields, dict) else {}


def class_name(folder: Path) -> str:
    """The class of the model in `folder`, as its config.json says; InputError where it does not."""
    try:
        name: str = config_fields(folder)["architectures"][0]
    except (LookupError, TypeError):
        raise InputError(f"{folder / 'config.json'}: names no class of transformers (architectures)") from None
    return name


def _is_t5_encoder(model: Any) -> bool:
    return type(model).__name__ == "T5EncoderModel"


def of_one_length(sequences: Sequence[Ids]) -> Iterator[torch.Tensor]:
    """Neighbours of one length together, [B, R] int64."""
    first = 0
    for number in range(1, len(sequences) + 1):
        rows = (number - first) * len(sequences[first])
        if number == len(sequences) or len(sequences[number]) != len(sequences[first]) or rows >= ROWS_AT_ONCE:
            yield torch.tensor([list(sequence) for sequence in sequences[first:number]])
            first = number
