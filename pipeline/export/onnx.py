"""A trained model as ONNX, for runtimes without Python: the graphs of onnx_graphs.py, their config and the tokenizer.

1. the stock model, written to a scratch folder and loaded by transformers (its plain attention: the one that traces)
2. each graph, traced by torch.onnx with batch and lengths free
3. compared: onnxruntime on padded batches and, a token at a time, with what is kept of the tokens before, against our
   model in float64

onnxruntime computes in float32, so this comparison has a tolerance of its own (`export.onnx_tolerance`). Tracing needs
the model in memory, several times.
"""

import itertools
import logging
import math
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from pipeline.batch import Views
from pipeline.export.compare import in_reading_order, largest_difference, sequences
from pipeline.export.folder import Write, publish_folder
from pipeline.export.huggingface import export_hf
from pipeline.export.layouts import layout_of
from pipeline.export.libraries import library, quiet_transformers
from pipeline.export.onnx_graphs import ENCODER, FIRST_STEP, LATER_STEP, WHOLE, Graph, graphs, past_names
from pipeline.export.verify import Original, checked
from pipeline.export.weights import ModelWeights
from pipeline.model.config import ModelConfig

_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "spiece.model")
_LARGEST_FILE_BYTES = 1_500_000_000  # protobuf ends at 2 GiB: above this, weights lie in a file beside the graph
_COMPARED_STEPS = 12  # tokens that the decoder writes one at a time

Item = TypeVar("Item")
Pairs = Iterator[tuple[torch.Tensor, torch.Tensor]]


def export_onnx(
    weights: Mapping[str, torch.Tensor],
    model_config: ModelConfig,
    tokenizer_folder: Path,
    out: Path,
    check: Write | None = None,
) -> Path:
    """Write the graphs of `weights` (by our parameter names), fp32, and the tokenizer to the folder `out`."""
    size = 4 * sum(math.prod(shape) for shape in ModelWeights(weights).shapes.values())

    def write(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            stock = export_hf(weights, model_config, tokenizer_folder, Path(scratch) / "hf")
            for name in _FILES:
                if (stock / name).exists():
                    shutil.copyfile(stock / name, folder / name)
            layout = layout_of(model_config)
            model = getattr(quiet_transformers(), layout.HEAD_CLASS).from_pretrained(
                stock, dtype=torch.float32, attn_implementation="eager"
            )
            for graph in graphs(model.eval(), model_config, layout.HEAD_PARTS):
                _trace(graph, folder / f"{graph.name}.onnx", size > _LARGEST_FILE_BYTES)

    return publish_folder(out, write, check)


def _trace(graph: Graph, path: Path, external_data: bool) -> None:
    library("onnxscript")  # torch's exporter needs it, and would say so in its own way
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module.eval(),
            kwargs=graph.inputs,
            f=path,
            input_names=graph.input_names,
            output_names=graph.outputs,
            dynamic_shapes=graph.axes,
            dynamo=True,
            verbose=False,
            external_data=external_data,
        )


@torch.no_grad()
def verify_onnx(folder: Path, original: Original) -> dict[str, Any]:
    """Compare what onnxruntime makes of the held-out sequences with what our model makes of them; returns figures."""
    ours = original.model
    compared = _Decoder(folder) if original.config.layers.has_decoder else _Encoder(folder)
    pairs = itertools.chain.from_iterable(compared.pairs(ours, micro_batch) for micro_batch in original.views)
    figures = {"logits": largest_difference(pairs, "logits", original.max_sequences)}
    return checked("onnx", figures, folder, original, "export.onnx_tolerance")


class _Encoder:
    """The one graph of an encoder with a head, on two sequences at a time, the shorter one padded."""

    def __init__(self, folder: Path) -> None:
        self.session = open_session(folder, WHOLE)

    def pairs(self, ours: Any, views: Views) -> Pairs:
        view = in_reading_order(views["encoder"])
        # The graph counts places itself: where tokens were left out, what is left is read as a text of its own.
        for rows in sequences(view):
            view.positions[rows] = torch.arange(rows.stop - rows.start)
        states_TW = ours.encode(view)
        for pair in _twos(sequences(view)):
            ids, mask = _padded([view.tokens[rows] for rows in pair])
            inputs = {"input_ids": ids, "attention_mask": mask}
            if "token_type_ids" in {node.name for node in self.session.get_inputs()}:
                types = view.token_types if view.token_types is not None else torch.zeros_like(view.tokens)
                inputs["token_type_ids"] = _padded([types[rows] for rows in pair])[0]
            states, logits = self.session.run(None, inputs)
            for number, rows in enumerate(pair):
                length = rows.stop - rows.start
                expected = torch.cat([states_TW[rows].flatten(), ours.head(states_TW[rows]).flatten()])
                got = np.concatenate([states[number, :length].ravel(), logits[number, :length].ravel()])
                yield expected, torch.from_numpy(got).double()


class _Decoder:
    """The three graphs of an encoder-decoder: the first half of a target at once, then token by token."""

    def __init__(self, folder: Path) -> None:
        self.encoder, self.first, self.later = (
            open_session(folder, name) for name in (ENCODER, FIRST_STEP, LATER_STEP)
        )

    def pairs(self, ours: Any, views: Views) -> Pairs:
        encoder, decoder = views["encoder"], views["decoder"]
        states_TW = ours.decode(decoder, ours.encode(encoder), encoder)
        both = zip(sequences(encoder), sequences(decoder), strict=True)
        for pair in _twos(both):
            ids, mask = _padded([encoder.tokens[source] for source, _ in pair])
            targets = [decoder.tokens[target][: 2 * _COMPARED_STEPS] for _, target in pair]
            got = self._logits(ids, mask, _padded(targets)[0])
            for number, (_, target) in enumerate(pair):
                length = min(len(targets[number]), got.shape[1])
                yield ours.head(states_TW[target][:length]), torch.from_numpy(got[number, :length]).double()

    def _logits(self, ids: np.ndarray, mask: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The logits of all `targets`, the later half of them through the cache."""
        memory = self.encoder.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        given = max(1, targets.shape[1] // 2)
        inputs = {"input_ids": targets[:, :given], "encoder_attention_mask": mask, "encoder_hidden_states": memory}
        logits, *kept = self.first.run(None, inputs)
        found, past = [logits], dict(zip(past_names(len(kept) // 4), kept, strict=True))
        for step in range(given, targets.shape[1]):
            wanted = {"input_ids": targets[:, step : step + 1], "encoder_attention_mask": mask, **past}
            names = {node.name for node in self.later.get_inputs()}
            logits, *own = self.later.run(None, {name: value for name, value in wanted.items() if name in names})
            past |= dict(zip([name for name in past if ".decoder." in name], own, strict=True))
            found.append(logits)
        return np.concatenate(found, axis=1)


def open_session(folder: Path, name: str) -> Any:
    """The graph `name` in `folder`, to be run by onnxruntime on the CPU."""
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return runtime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])


def _padded(rows: Sequence[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """[N, longest] int64 of `rows` with 0 behind them, and 1 where there is one."""
    length = max(map(len, rows))
    ids, mask = np.zeros((len(rows), length), np.int64), np.zeros((len(rows), length), np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)], mask[number, : len(row)] = row.numpy(), 1
    return ids, mask


def _twos(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Two items after two, at the end perhaps one."""
    iterator = iter(items)
    while pair := list(itertools.islice(iterator, 2)):
        yield pair
