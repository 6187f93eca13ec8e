"""Is the exported model the trained one? Asked of the files as anyone would load them, before an export counts as done.

1. Logits: every sequence of held-out views through our model (the stored weights, in float64) and through
   `from_pretrained` of its stock class; the largest absolute difference must not exceed the tolerance.
2. Ids: held-out texts through our tokenizer and through `AutoTokenizer.from_pretrained`, encoding segment by segment.
   Where two ways to cut a text score the same, float sums in another order may prefer the other: counted as a tie.
   Anything else that differs is an error.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from data_prep.errors import SpanwrightError
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.segments import segments
from data_prep.tokenizer.tokenizer import MODEL_NAME
from pipeline.batch import Batch, Views
from pipeline.export.huggingface import DTYPES, vocab_size
from pipeline.export.layouts import layout_of, model_weights
from pipeline.export.libraries import library, quiet_transformers
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder, build_model
from pipeline.model.pretrained import EncoderModel

_TIE = 1e-2  # nats per text: what float32 sums over a segment of a few thousand pieces can be off by


def verify_export(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    model_config: ModelConfig,
    tokenizer_folder: Path,
    views: Sequence[Views],
    texts: Sequence[str],
    dtype: str = "fp32",
    tolerance: float = 1e-4,
    max_sequences: int | None = None,
) -> dict[str, Any]:
    """Compare the export in `folder` with the `weights` (our names) and tokenizer it was made from; returns figures.

    `views` are micro-batches of an "encoder" view, with a "decoder" view for an encoder-decoder; their first
    `max_sequences` sequences are run.
    Raises SpanwrightError when a logit differs by more than `tolerance` or a text gets other ids.
    """
    figures: dict[str, Any] = {
        "logits": compare_logits(folder, weights, model_config, views, dtype, max_sequences),
        "tokenizer": compare_ids(folder, tokenizer_folder, texts),
        "tolerance": tolerance,
        "dtype": dtype,
    }
    difference = figures["logits"]["max_abs_difference"]
    if not difference <= tolerance:
        raise SpanwrightError(
            f"export to hf: the exported model is not the trained one: logits differ by {difference:.3g}, "
            f"allowed is {tolerance:g} (export.tolerance)"
        )
    if figures["tokenizer"]["different"]:
        example = figures["tokenizer"]["example"]
        raise SpanwrightError(
            f"export to hf: the exported tokenizer gives other ids than ours, for example for {example!r}"
        )
    return figures


@torch.no_grad()
def compare_logits(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    model_config: ModelConfig,
    views: Sequence[Views],
    dtype: str = "fp32",
    max_sequences: int | None = None,
) -> dict[str, Any]:
    """{max_abs_difference, sequences, logits}: both models in float64 on each sequence of `views` alone."""
    ours = build_model(model_config, vocab_size(weights), seed=0).eval()
    ours.load_parameters({name: tensor.to(DTYPES[dtype]) for name, tensor in model_weights(weights).items()})
    layout = layout_of(model_config)
    theirs = getattr(quiet_transformers(), layout.HEAD_CLASS).from_pretrained(folder, dtype=torch.float32).eval()
    # In float32 their roundings alone can differ by more than is allowed: float64 tells whether they are one function.
    ours, theirs = ours.double(), _in_float64(theirs)
    worst, num_sequences, num_logits = 0.0, 0, 0
    for micro_batch in views:
        for expected, got in _logits(ours, theirs, micro_batch, layout.POSITION_OFFSET):
            if num_sequences == max_sequences:
                break
            worst = max(worst, float((expected - got).abs().max().nan_to_num(nan=float("inf"))))
            num_sequences, num_logits = num_sequences + 1, num_logits + expected.numel()
    if not num_sequences:
        raise SpanwrightError("export to hf: it could not be compared: there is no held-out sequence")
    return {"max_abs_difference": worst, "sequences": num_sequences, "logits": num_logits}


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


def _in_float64(model: Any) -> Any:
    """`model` in float64, T5's norms too, whose class rounds to float32 whatever its model is in."""
    model = model.double()
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            if type(norm).__name__ == "T5LayerNorm":
                exact = torch.nn.RMSNorm(len(norm.weight), eps=norm.variance_epsilon, dtype=torch.float64)
                exact.weight = norm.weight
                setattr(parent, name, exact)
    return model


def _logits(
    ours: EncoderModel, theirs: Any, views: Views, position_offset: int | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The logits of each sequence, ours and theirs."""
    encoder = views["encoder"] if isinstance(ours, EncoderDecoder) else _in_reading_order(views["encoder"])
    memory_SW = ours.encode(encoder)
    if not isinstance(ours, EncoderDecoder):
        for rows in _sequences(encoder):
            places = (
                {} if position_offset is None else {"position_ids": encoder.positions[rows][None] + position_offset}
            )
            if ours.config.layers.token_types and encoder.token_types is not None:
                places["token_type_ids"] = encoder.token_types[rows][None]
            yield ours.head(memory_SW[rows]), theirs(input_ids=encoder.tokens[rows][None], **places).logits[0]
        return
    decoder = views["decoder"]
    states_TW = ours.decode(decoder, memory_SW, encoder)
    for source, target in zip(_sequences(encoder), _sequences(decoder), strict=True):
        got = theirs(input_ids=encoder.tokens[source][None], decoder_input_ids=decoder.tokens[target][None])
        yield ours.head(states_TW[target]), got.logits[0]


def _in_reading_order(view: Batch) -> Batch:
    """The view with the rows of each sequence by their positions: stock classes take a row's index for its place."""
    order = torch.arange(len(view.tokens))
    for rows in _sequences(view):
        order[rows] = rows.start + view.positions[rows].argsort(stable=True)
    return dataclasses.replace(
        view,
        **{
            field.name: value[order]
            for field in dataclasses.fields(view)
            if (value := getattr(view, field.name)) is not None and field.name not in ("cu_seqlens", "pair_labels")
        },
    )


def _sequences(view: Batch) -> Iterator[slice]:
    """The rows of each sequence that has any."""
    for start, stop in itertools.pairwise(view.cu_seqlens.tolist()):
        if start < stop:
            yield slice(start, stop)
