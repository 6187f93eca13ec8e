"""The trained model and an exported one side by side, in float64, on each sequence of held-out views alone.

In float32 their roundings alone can differ by more than is allowed: float64 tells whether they are one function. Models
too large for memory are run block by block (materialise.py), both of them; else the exported one is loaded by
`from_pretrained`, as anyone would.
"""

import dataclasses
import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from data_prep.errors import SpanwrightError
from pipeline.batch import Batch, Views
from pipeline.export.folder import DTYPES, read_stored, read_tensor
from pipeline.export.layouts import bert, layout_of
from pipeline.export.libraries import quiet_transformers
from pipeline.export.materialise import materialise, parameters_on_meta
from pipeline.export.stock_model import kept_layers
from pipeline.export.weights import ModelWeights
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder, build_model
from pipeline.model.pretrained import EncoderModel

Outputs = Iterator[tuple[torch.Tensor, torch.Tensor]]
"""Ours and theirs, of one sequence after another."""


@torch.no_grad()
def compare_logits(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    model_config: ModelConfig,
    views: Sequence[Views],
    dtype: str = "fp32",
    max_sequences: int | None = None,
    by_block: bool = False,
) -> dict[str, Any]:
    """{max_abs_difference, sequences, logits} of the whole model in `folder`."""
    layout = layout_of(model_config)
    ours = trained_model(model_config, weights, dtype, by_block)
    theirs = stock_model(folder, layout.HEAD_CLASS, by_block)
    outputs = (_logits(ours, theirs, micro_batch, layout.POSITION_OFFSET) for micro_batch in views)
    return largest_difference(itertools.chain.from_iterable(outputs), "logits", max_sequences)


@torch.no_grad()
def compare_states(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    model_config: ModelConfig,
    views: Sequence[Views],
    dtype: str = "fp32",
    max_sequences: int | None = None,
    by_block: bool = False,
    num_layers: int | None = None,
) -> dict[str, Any]:
    """{max_abs_difference, sequences, states} of the encoder in `folder`, or of its first `num_layers` layers."""
    layout = bert if model_config.architecture == "bart" else layout_of(model_config)
    ours = trained_model(model_config, weights, dtype, by_block)
    theirs = stock_model(folder, layout.BODY_CLASS, by_block)
    kept = kept_layers(model_config, num_layers)
    outputs = (_states(ours, theirs, micro_batch["encoder"], layout.POSITION_OFFSET, kept) for micro_batch in views)
    return largest_difference(itertools.chain.from_iterable(outputs), "states", max_sequences)


def encoder_states(model: EncoderModel, view: Batch, num_layers: int) -> torch.Tensor:
    """The states [T, W] after the first `num_layers` layers of the encoder and its last norm, where it has one."""
    layers: list[torch.Tensor] = []
    last_TW = model.encode(view, layers)
    return last_TW if num_layers == len(layers) else model.encoder.norm(layers[num_layers - 1])


def largest_difference(
    outputs: Iterable[tuple[torch.Tensor, torch.Tensor]], what: str, max_sequences: int | None = None
) -> dict[str, Any]:
    """{max_abs_difference, sequences, `what`: numbers compared} over the first `max_sequences` of `outputs`."""
    worst, num_sequences, num_numbers = 0.0, 0, 0
    for expected, got in itertools.islice(outputs, max_sequences):
        worst = max(worst, float((expected - got).abs().max().nan_to_num(nan=float("inf"))))
        num_sequences, num_numbers = num_sequences + 1, num_numbers + expected.numel()
    if not num_sequences:
        raise SpanwrightError("export: it could not be compared: there is no held-out sequence")
    return {"max_abs_difference": worst, "sequences": num_sequences, what: num_numbers}


def trained_model(
    config: ModelConfig, weights: Mapping[str, torch.Tensor], dtype: str, by_block: bool = False
) -> EncoderModel:
    """Our model with an objective's `weights` as the export stores them, in float64."""
    own = ModelWeights(weights)
    with parameters_on_meta():
        model = build_model(config, own.vocab_size, seed=0).eval()
    materialise(model, lambda name: own[name].to(DTYPES[dtype]), torch.float64, by_block)
    return model


def stock_model(folder: Path, class_name: str, by_block: bool = False) -> Any:
    """The model in `folder` as transformers' class of this name, in float64."""
    model_class = getattr(quiet_transformers(), class_name)
    # No run of ours trains BERT's pooler; the class would draw one.
    takes_pooler = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    options = {"add_pooling_layer": False} if takes_pooler else {}
    if not by_block:
        whole = model_class.from_pretrained(folder, dtype=torch.float32, **options)
        return with_exact_norms(whole.eval().double())
    with parameters_on_meta():
        model = model_class(model_class.config_class.from_pretrained(folder), **options)
    model = with_exact_norms(model.eval().double())
    stored = read_stored(folder)
    materialise(model, lambda name: read_tensor(stored, name).float(), torch.float64, by_block)
    return model


def with_exact_norms(model: Any) -> Any:
    """T5's norms in float64 too, whose class rounds to float32 whatever its model is in."""
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            if type(norm).__name__ == "T5LayerNorm":
                exact = torch.nn.RMSNorm(len(norm.weight), eps=norm.variance_epsilon, device="meta")
                exact.weight = norm.weight
                setattr(parent, name, exact)
    return model


def _logits(ours: EncoderModel, theirs: Any, views: Views, position_offset: int | None) -> Outputs:
    if not isinstance(ours, EncoderDecoder):
        encoder = in_reading_order(views["encoder"])
        memory_SW = ours.encode(encoder)
        for rows in sequences(encoder):
            yield ours.head(memory_SW[rows]), theirs(**_inputs(ours, encoder, rows, position_offset)).logits[0]
        return
    encoder, decoder = views["encoder"], views["decoder"]
    states_TW = ours.decode(decoder, ours.encode(encoder), encoder)
    for source, target in zip(sequences(encoder), sequences(decoder), strict=True):
        got = theirs(input_ids=encoder.tokens[source][None], decoder_input_ids=decoder.tokens[target][None])
        yield ours.head(states_TW[target]), got.logits[0]


def _states(ours: EncoderModel, theirs: Any, view: Batch, position_offset: int | None, num_layers: int) -> Outputs:
    if not isinstance(ours, EncoderDecoder):
        view = in_reading_order(view)
    states_TW = encoder_states(ours, view, num_layers)
    for rows in sequences(view):
        got = theirs(**_inputs(ours, view, rows, None if isinstance(ours, EncoderDecoder) else position_offset))
        yield states_TW[rows], got.last_hidden_state[0]


def _inputs(ours: EncoderModel, view: Batch, rows: slice, position_offset: int | None) -> dict[str, torch.Tensor]:
    """The arguments of a stock encoder for one sequence."""
    inputs = {"input_ids": view.tokens[rows][None]}
    if position_offset is not None:
        inputs["position_ids"] = view.positions[rows][None] + position_offset
    if ours.config.layers.token_types and view.token_types is not None:
        inputs["token_type_ids"] = view.token_types[rows][None]
    return inputs


def in_reading_order(view: Batch) -> Batch:
    """The view with the rows of each sequence by their positions: stock classes take a row's index for its place."""
    order = torch.arange(len(view.tokens))
    for rows in sequences(view):
        order[rows] = rows.start + view.positions[rows].argsort(stable=True)
    return dataclasses.replace(
        view,
        **{
            field.name: value[order]
            for field in dataclasses.fields(view)
            if (value := getattr(view, field.name)) is not None and field.name not in ("cu_seqlens", "pair_labels")
        },
    )


def sequences(view: Batch) -> Iterator[slice]:
    """The rows of each sequence that has any."""
    for start, stop in itertools.pairwise(view.cu_seqlens.tolist()):
        if start < stop:
            yield slice(start, stop)
