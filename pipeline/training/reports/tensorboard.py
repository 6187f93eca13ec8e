"""TensorBoard: losses by term, learning rate, gradient norms, logits, speed, data wait, spans, and samples as text."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from data_prep.tokenizer.special import SpecialTokens
from data_prep.tokenizer.tokenizer import Tokenizer
from pipeline.batch import IGNORED_LABEL, Batch, MicroBatch
from pipeline.checkpoint.saver import Saved
from pipeline.training.loop import StepReport


class TensorBoard:
    """The event files of one run.

    Each start adds a file and has TensorBoard drop what earlier ones say of the steps after `resumed_step` (0: of all).
    """

    def __init__(self, folder: Path, resumed_step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=resumed_step + 1 if resumed_step else 0)

    def write_step(self, report: StepReport, views: Mapping[str, float]) -> None:
        """The scalars of a training step, with the statistics of its views."""
        step = report.progress.step
        scalars = {f"loss/{term}": value for term, value in report.terms.items()} | {
            "training/learning_rate": report.learning_rate,
            "training/grad_norm": report.grad_norm,
            "speed/tokens_per_second": report.tokens / report.seconds,
            "speed/data_wait": report.data_wait_seconds / report.seconds,
        }
        if report.kept_share is not None:
            scalars["training/kept_share"] = report.kept_share
        if report.gpu_memory_gib is not None:
            scalars["speed/gpu_memory_gib"] = report.gpu_memory_gib
        scalars |= {f"views/{name}": value for name, value in views.items()} | report.statistics
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def write_heldout(self, step: int, terms: Mapping[str, float]) -> None:
        """The held-out losses."""
        for term, value in terms.items():
            self._writer.add_scalar(f"heldout/{term}", value, step)

    def write_probe(self, step: int, name: str, metrics: Mapping[str, float]) -> None:
        """The figures of a probe."""
        for metric, value in metrics.items():
            self._writer.add_scalar(f"probe/{name}/{metric}", value, step)

    def write_save(self, saved: Saved) -> None:
        """How long training waited for a checkpoint, and how long it took."""
        self._writer.add_scalar("checkpoint/stall_seconds", saved.stall_seconds, saved.step)
        self._writer.add_scalar("checkpoint/seconds", saved.seconds, saved.step)

    def write_samples(self, step: int, described: str) -> None:
        """What the first sequence's encoder reads, what the decoder should write, and what the model would write."""
        self._writer.add_text("samples", described, step)

    def flush(self) -> None:
        """Hand what was written to the system (before a checkpoint relies on it)."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


def view_statistics(micro_batch: MicroBatch, special: SpecialTokens) -> dict[str, float]:
    """Fill and sequence lengths of each view; number and mean length of spans, share of hidden or asked tokens."""
    figures: dict[str, float] = {}
    for name, view in micro_batch.views.items():
        sequences = np.diff(np.asarray(view.cu_seqlens))
        figures[f"{name}_fill"] = view.num_rows / len(view.tokens)
        figures[f"{name}_mean_length"] = view.num_rows / max(1, int((sequences > 0).sum()))
    for name, view in micro_batch.views.items():
        if view.labels is not None:
            figures |= _span_statistics(micro_batch, np.asarray(view.labels), special)
            if name == "encoder":
                figures["masked_share"] = view.num_labels / max(1, view.num_rows)
    return figures


def _span_statistics(micro_batch: MicroBatch, labels: np.ndarray, special: SpecialTokens) -> dict[str, float]:
    labels = labels[labels != IGNORED_LABEL]
    spans, hidden = _count(labels, special)
    figures = {"labels": float(len(labels))}
    if spans and "encoder" in micro_batch.views:
        encoder = micro_batch.views["encoder"]
        _, shown = _count(np.asarray(encoder.tokens)[: encoder.num_rows], special)
        figures |= {"spans": spans, "mean_span_length": hidden / spans, "noise_density": hidden / (hidden + shown)}
    return figures


def _count(tokens: np.ndarray, special: SpecialTokens) -> tuple[int, int]:
    """Sentinels, and tokens of the text."""
    sentinels = np.isin(tokens, np.asarray(special.sentinels))
    return int(sentinels.sum()), int((~sentinels & (tokens != special.eos)).sum())


def describe_sample(micro_batch: MicroBatch, predictions: np.ndarray, tokenizer: Tokenizer) -> str:
    """Markdown: the first sequence of each view, its labels, and the predictions at the labels."""
    parts = [f"**{name}** `{_text(_first(view, view.tokens), tokenizer)}`" for name, view in micro_batch.views.items()]
    predicted = ""
    for name, view in micro_batch.views.items():
        if view.labels is not None:
            parts.append(f"**{name} labels** `{_text(_first(view, view.labels), tokenizer)}`")
            predicted = f"**predicted** `{_text(_first(view, predictions), tokenizer)}`"  # of the last such view
    if predicted:
        parts.append(predicted)
    return "\n\n".join(parts)


def _first(view: Batch, values: np.ndarray) -> np.ndarray:
    rows = np.asarray(values)[: int(view.cu_seqlens[1])]
    return rows[rows != IGNORED_LABEL]


def _text(tokens: np.ndarray, tokenizer: Tokenizer) -> str:
    pieces = (tokenizer.id_to_piece(int(token)) if token < tokenizer.vocab_size else "<?>" for token in tokens)
    return "".join(pieces).replace("`", "'").replace("\n", "⏎")
