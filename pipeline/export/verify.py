"""Is the exported model the trained one? Asked of the files as anyone would load them, before an export counts as done.

1. Outputs (compare.py): held-out sequences through our model and through the stock class; the largest absolute
   difference must not exceed the tolerance.
2. Ids: held-out texts through our tokenizer and through `AutoTokenizer.from_pretrained`, encoding segment by segment.
   Where two ways to cut a text score the same, float sums in another order may prefer the other: counted as a tie.
   Anything else that differs is an error.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data_prep.errors import SpanwrightError
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.segments import segments
from data_prep.tokenizer.tokenizer import MODEL_NAME
from pipeline.batch import Views
from pipeline.export.compare import compare_logits, compare_states, trained_model
from pipeline.export.libraries import library, quiet_transformers
from pipeline.model.config import ModelConfig
from pipeline.model.pretrained import EncoderModel

_TIE = 1e-2  # nats per text: what float32 sums over a segment of a few thousand pieces can be off by


@dataclass(frozen=True)
class Original:
    """What an export is compared with, and on what."""

    weights: Mapping[str, torch.Tensor]
    """By our names, fp32."""
    config: ModelConfig
    tokenizer_folder: Path
    views: Sequence[Views]
    """Micro-batches of an "encoder" view, with a "decoder" view for an encoder-decoder."""
    texts: Sequence[str]
    dtype: str = "fp32"
    """Of the stored weights."""
    tolerance: float = 1e-4
    """Largest allowed difference of any number."""
    max_sequences: int | None = None
    """How many sequences, or texts, are compared; None: all."""
    by_block: bool = False
    """Whether the models are too large for memory."""

    @property
    def model(self) -> EncoderModel:
        """In float64, with the weights as the export stores them."""
        return trained_model(self.config, self.weights, self.dtype, self.by_block)

    def compared(self, compare: Callable[..., dict[str, Any]], folder: Path, **options: Any) -> dict[str, Any]:
        """What `compare_logits` or `compare_states` finds of the export in `folder`."""
        return compare(
            folder, self.weights, self.config, self.views, self.dtype, self.max_sequences, self.by_block, **options
        )


def verify_export(folder: Path, original: Original) -> dict[str, Any]:
    """Compare the whole model in `folder` with the `original`; returns figures.

    Raises SpanwrightError when a logit differs by more than its tolerance or a text gets other ids.
    """
    return checked("hf", {"logits": original.compared(compare_logits, folder)}, folder, original)


def verify_encoder(folder: Path, original: Original, num_layers: int | None = None) -> dict[str, Any]:
    """`verify_export` for the encoder alone: its last states, or those of the layer `num_layers`, are compared."""
    compared = {"states": original.compared(compare_states, folder, num_layers=num_layers)}
    return checked("encoder", compared, folder, original)


def checked(
    target: str,
    compared: Mapping[str, Mapping[str, Any]],
    folder: Path,
    original: Original,
    option: str = "export.tolerance",
) -> dict[str, Any]:
    """The figures of an export to `target`, with those of its tokenizer on the texts.

    `compared` has one entry, {what was compared: its figures}. SpanwrightError unless its largest difference is within
    the tolerance, which the config has as `option`, and all texts get the same ids.
    """
    [(what, differences)] = compared.items()
    ids = compare_ids(folder, original.tokenizer_folder, original.texts)
    _check_difference(target, what, differences["max_abs_difference"], original.tolerance, option)
    _check_ids(target, ids)
    return {what: differences, "tokenizer": ids, "tolerance": original.tolerance, "dtype": original.dtype}


def _check_difference(target: str, what: str, difference: float, tolerance: float, option: str) -> None:
    if not difference <= tolerance:
        raise SpanwrightError(
            f"export to {target}: the exported model is not the trained one: {what} differ by {difference:.3g}, "
            f"allowed is {tolerance:g} ({option})"
        )


def _check_ids(target: str, figures: Mapping[str, Any]) -> None:
    if figures["different"]:
        raise SpanwrightError(
            f"export to {target}: the exported tokenizer gives other ids than ours, for example for "
            f"{figures['example']!r}"
        )


def compare_ids(folder: Path, tokenizer_folder: Path, texts: Sequence[str]) -> dict[str, Any]:
    """{texts, tokens, ties, different, example}: our ids of each text and the exported tokenizer's of its segments."""
    ours = Tokenizer.load(tokenizer_folder)
    theirs = quiet_transformers().AutoTokenizer.from_pretrained(folder)
    scores = library("sentencepiece").SentencePieceProcessor(model_file=str(folder / MODEL_NAME))
    figures: dict[str, Any] = {"texts": len(texts), "tokens": 0, "ties": 0, "different": 0, "example": None}
    for text in texts:
        expected = ours.encode(text).tolist()
        got = [
            index
            for segment in segments(text)
            for index in theirs(segment, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        ]
        figures["tokens"] += len(expected)
        if got == expected:
            continue
        tie = ours.decode(got) == ours.decode(expected) and abs(_score(scores, got) - _score(scores, expected)) <= _TIE
        figures["ties" if tie else "different"] += 1
        if not tie and figures["example"] is None:
            figures["example"] = text[:80]
    return figures


def _score(processor: Any, ids: Sequence[int]) -> float:
    return sum(processor.get_score(index) for index in ids)
