"""The README.md of an exported folder: what the model is, what it read, how far it was trained, how to load it.

Everything in it is read from the run: its config, its checkpoint's record, its metrics, its dataset's manifest, and the
figures of the comparison that the export has just passed. What the report in a manifest does not tell is left out:
`spanwright prep` tells all of it, the shard format asks for none.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.shards import Dataset
from pipeline.checkpoint.format import Record
from pipeline.config import RunConfig, fingerprint
from pipeline.evaluation.config import FOLDER
from pipeline.evaluation.results import read_results
from pipeline.export.card_texts import LIBRARIES, USES, loading, task
from pipeline.export.stock_model import kept_layers
from pipeline.model.config import count_parameters
from pipeline.training.reports.metrics import METRICS, read_metrics

CARD_NAME, CURVE_NAME = "README.md", "loss.svg"
_MOST_ROWS = 12
_INK, _ACCENT = "#57606a", "#0b6e99"

Rows = Iterable[tuple[str, object]]


@dataclass(frozen=True)
class Run:
    """What a card is made from."""

    config: RunConfig
    record: Record
    dataset: Dataset


def write_card(folder: Path, run: Run, target: str, figures: Mapping[str, Any]) -> None:
    """Write README.md, and loss.svg where the run has metrics, into the export in `folder`."""
    losses, heldout = _curves(run.config.train_dir / METRICS, run.record.step)
    if len(losses) > 1:
        _draw(folder / CURVE_NAME, losses, heldout)
    lines = [*_metadata(run, target), *_body(run, target, figures, has_curve=len(losses) > 1)]
    (folder / CARD_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _metadata(run: Run, target: str) -> Iterator[str]:
    """The YAML that hubs read; quoted, for `no` is a language."""
    config = run.config
    yield "---"
    yield f"library_name: {LIBRARIES[target]}"
    if (name := task(config, target)) is not None:
        yield f"pipeline_tag: {name}"
    if languages := _languages(run.dataset):
        yield "language:"
        yield from (f'- "{language}"' for language in languages)
    yield "tags:"
    yield from (f'- "{tag}"' for tag in ("spanwright", config.recipe.name, config.model.architecture))
    yield "---"
    yield ""


def _body(run: Run, target: str, figures: Mapping[str, Any], has_curve: bool) -> Iterator[str]:
    config = run.config
    parts = {
        "How to load it": [f"```python\n{loading(config, target, config.export_dir / target)}```"],
        "What it is": _table(("", ""), _model_rows(run, target)),
        "What it read": _table(("", ""), _data_rows(run.dataset)),
        "How it was trained": _table(("", ""), _training_rows(run)),
        "Evaluation": _table(("measure", "value"), [*_evaluation_rows(run.record, figures), *_probe_rows(run)]),
        "Intended use": [USES[target], "", _limits(run.dataset)],
        "To make it again": _table(("", "fingerprint"), _fingerprints(run)),
    }
    yield f"# {config.run_dir.name}"
    yield ""
    yield f"{config.recipe.summary} Trained with Spanwright, recipe `{config.recipe.name}`: {config.recipe.source}."
    for title, lines in parts.items():
        yield from ("", f"## {title}", "", *lines)
        if title == "How it was trained" and has_curve:
            yield from ("", f"![Loss of each step, and held-out loss where it was measured]({CURVE_NAME})")


def _model_rows(run: Run, target: str) -> Rows:
    model, vocab_size = run.config.model, run.dataset.manifest.tokenizer.vocab_size
    kept = kept_layers(model, run.config.export.encoder_layers)
    yield "architecture", model.layers.title
    if target in ("encoder", "sentence-transformers"):
        yield "layers", f"encoder {kept} of {model.num_layers}"
    else:
        yield "layers", f"encoder {model.num_layers}" + (f", decoder {model.decoder_layers}" * model.layers.has_decoder)
    yield "width", model.d_model
    yield "parameters of the trained model", f"{count_parameters(model, vocab_size):,}"
    yield "vocabulary", f"{vocab_size:,}"
    if target == "sentence-transformers":
        yield "vector", f"{run.config.pooling} of the states" + ", of length 1" * run.config.export.normalize


def _data_rows(dataset: Dataset) -> Rows:
    manifest = dataset.manifest
    documents = {name: sum(shard.documents for shard in shards) for name, shards in manifest.splits.items()}
    yield "dataset", manifest.name
    yield "documents", f"{documents.get('train', 0):,} to train on, {documents.get('heldout', 0):,} held out"
    yield "text", _size(dataset)
    summary = manifest.report.get("summary", {})
    for kind in ("language", "source"):
        counts = summary.get("documents", {}).get(f"{kind}s", {})
        for name, (number, size) in sorted(counts.items(), key=lambda row: -row[1][1])[:_MOST_ROWS]:
            if name:
                yield f"{kind} {name}", f"{_documents(number)}, {size / 1e6:,.1f} MB"
    for stage in summary.get("stages", ()):
        if dropped := stage["documents_in"] - stage["documents"]:
            yield f"dropped by {stage['stage']}", _documents(dropped)


def _training_rows(run: Run) -> Rows:
    config, record = run.config, run.record
    yield "steps", f"{record.step:,} of {config.batch_sizes} windows of {config.stream.window:,} tokens"
    yield "tokens", f"{record.tokens:,} (rows of all views)"
    yield "learning rate", config.training.learning_rate
    yield "seed", config.run.seed
    yield from ((name.replace("_", " "), value) for name, value in record.environment.items())
    if record.origin:
        yield "began from", record.origin
    if record.skipped:
        yield "samples left out", sum(part.stop - part.start for part in record.skipped)


def _evaluation_rows(record: Record, figures: Mapping[str, Any]) -> Rows:
    for name, loss in record.heldout.items():
        yield f"held-out loss, {name}", f"{loss:.4f}"
    what = next(name for name in ("logits", "states", "vectors") if name in figures)
    yield (
        f"largest difference of {what} from the trained model",
        f"{figures[what]['max_abs_difference']:.1e} on {figures[what]['sequences']} held-out sequences "
        f"(allowed {figures['tolerance']:g})",
    )
    ids = figures["tokenizer"]
    yield "texts with the same token ids", f"{ids['texts'] - ids['different'] - ids['ties']} of {ids['texts']}"


def _probe_rows(run: Run) -> Rows:
    """What probes found of the checkpoint that is exported, with their 95 % intervals."""
    path = run.config.run_dir / FOLDER / f"{run.record.step}.json"
    for name, probe in read_results(path).get("probes", {}).items():
        for metric, figure in probe["metrics"].items():
            interval = "" if figure["low"] is None else f" ({figure['low']:.4g} to {figure['high']:.4g})"
            yield f"{name}: {metric}", f"{figure['value']:.4g}{interval}"


def _fingerprints(run: Run) -> Rows:
    yield "config of the run", f"`{fingerprint(run.record.config)}`"
    yield "dataset", f"`{run.record.dataset_fingerprint}`"
    yield "stream of samples", f"`{run.record.stream_fingerprint}`"
    yield "tokenizer", f"`{run.record.tokenizer_digest}`"


def _documents(number: int) -> str:
    return f"{number:,} document{'s' * (number != 1)}"


def _size(dataset: Dataset) -> str:
    report = dataset.manifest.report
    size = f"{report['text_bytes'] / 1e6:,.1f} MB, " if "text_bytes" in report else ""
    return f"{size}{dataset.manifest.totals.tokens:,} tokens"


def _limits(dataset: Dataset) -> str:
    read = f"It has read {_size(dataset)}, and knows what stands there, errors and prejudices included."
    return f"{read} Measure it on your own task first."


def _languages(dataset: Dataset) -> list[str]:
    found = dataset.manifest.report.get("summary", {}).get("documents", {}).get("languages", {})
    return sorted(name for name in found if name.isalpha() and len(name) in (2, 3))[:_MOST_ROWS]


def _table(heads: tuple[str, str], rows: Rows) -> list[str]:
    cells = [" | ".join(str(cell).replace("|", r"\|") for cell in row) for row in rows]
    return [f"| {' | '.join(heads)} |", "|---|---|", *(f"| {row} |" for row in cells)]


def _curves(path: Path, last_step: int) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """(step, loss) of training, and held out, up to `last_step`; empty without metrics."""
    records = [record for record in read_metrics(path) if record["step"] <= last_step]
    names = ("loss", "heldout_loss")
    losses, heldout = ([(each["step"], each[name]) for each in records if name in each] for name in names)
    return losses, heldout


def _draw(path: Path, losses: list[tuple[int, float]], heldout: list[tuple[int, float]]) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes: Any = figure.add_subplot(xlabel="step", ylabel="loss")
    axes.plot(*zip(*losses, strict=True), color=_INK, linewidth=1, label="training")
    if heldout:
        axes.plot(*zip(*heldout, strict=True), color=_ACCENT, marker="o", label="held out")
    axes.legend(frameon=False)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "spanwright"}):  # text stays text
        figure.savefig(path, metadata={"Date": None})
