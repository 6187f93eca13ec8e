"""Is the exported model the trained one? Asked of the files as anyone would load them, before an export counts as done.

1. Logits: every sequence of held-out views through our model (the stored weights, in fp32) and through
   `T5ForConditionalGeneration.from_pretrained`; the largest absolute difference must not exceed the tolerance.
2. Ids: held-out texts through our tokenizer and through `AutoTokenizer.from_pretrained`, encoding segment by segment.
   Where two ways to cut a text score the same, float sums in another order may prefer the other: counted as a tie.
   Anything else that differs is an error.
"""

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
from pipeline.export.libraries import library, quiet_transformers
from pipeline.export.t5_names import OBJECTIVE_PREFIX
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder

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

    `views` are micro-batches of an "encoder" and a "decoder" view; their first `max_sequences` sequences are run.
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
    """{max_abs_difference, sequences, logits}: both models in fp32 on each sequence of `views` alone."""
    ours = EncoderDecoder(model_config, vocab_size(weights), seed=0).eval()
    stored = {name.removeprefix(OBJECTIVE_PREFIX): tensor.to(DTYPES[dtype]) for name, tensor in weights.items()}
    ours.load_parameters(stored)
    theirs = quiet_transformers().T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    worst, num_sequences, num_logits = 0.0, 0, 0
    for micro_batch in views:
        memory_SW = ours.encode(micro_batch["encoder"])
        states_TW = ours.decode(micro_batch["decoder"], memory_SW, micro_batch["encoder"])
        for source, target in _sequences(micro_batch["encoder"], micro_batch["decoder"]):
            if num_sequences == max_sequences:
                break
            expected = ours.head(states_TW[target])
            got = theirs(
                input_ids=micro_batch["encoder"].tokens[source][None],
                decoder_input_ids=micro_batch["decoder"].tokens[target][None],
            ).logits[0]
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


def _sequences(encoder: Batch, decoder: Batch) -> Iterator[tuple[slice, slice]]:
    sources, targets = encoder.cu_seqlens.tolist(), decoder.cu_seqlens.tolist()
    for source in zip(sources, sources[1:], targets, targets[1:], strict=False):
        if source[1] > source[0] and source[3] > source[2]:
            yield slice(source[0], source[1]), slice(source[2], source[3])
