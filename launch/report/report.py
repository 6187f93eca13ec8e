"""report.html: one run on one page, from what lies in its folder (`run`)."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.pages.charts import Scale
from data_prep.pages.frame import as_bytes, template
from data_prep.pages.words import count, percent, short
from data_prep.pages.yaml_text import as_yaml
from data_prep.shards.files import publish, staged_bytes
from launch.report.curves import (
    AXIS_NAMES,
    Chart,
    common_axes,
    draw,
    heldout_curve,
    recorded_curve,
    trained_curve,
)
from launch.report.evaluations import evaluation_table, group_tables
from launch.report.history import attempt_rows, checkpoint_rows, environment_rows, event_rows, restart_steps
from launch.report.probes import layer_charts, probe_charts
from launch.report.run import Run, read_run
from launch.report.samples import shown_samples
from pipeline.model.config import count_parameters
from pipeline.training.reports.progress import format_duration

REPORT_NAME = "report.html"
Rows = Iterator[tuple[str, str]]


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of the run in `folder` to `out` (default: into the folder); returns its path."""
    run = read_run(folder)
    path = out or folder / REPORT_NAME
    publish([staged_bytes(path, report_page(run))])
    return path


def report_page(run: Run) -> bytes:
    """The report's bytes."""
    axes = common_axes([run])
    page = template(Path(__file__).parent, "report.html.jinja").render(
        run=run,
        made=time.strftime("%Y-%m-%d %H:%M %Z"),
        figures=list(_figures(run)),
        what=list(_what(run)),
        axes=[(axis, AXIS_NAMES[axis]) for axis in axes],
        curves=_curves(run, axes),
        speed=_speed(run, axes),
        masks=_masks(run, axes),
        heldout=[(record["step"], record["heldout_loss"], record["heldout_terms"]) for record in run.heldout],
        samples=shown_samples(run.samples),
        evaluations=[
            (found["step"], evaluation_table([found]), list(layer_charts(found)), list(group_tables(found)))
            for found in reversed(run.evaluations)
        ],
        filled_in=run.stages.get("evaluate", {}).get("filled_in", []),
        events=event_rows(run),
        attempts=attempt_rows(run),
        checkpoints=checkpoint_rows(run),
        environments=environment_rows(run),
        config=as_yaml(run.config.model_dump(mode="json", exclude_none=True)),
    )
    return as_bytes(page)


def num_parameters(run: Run) -> int | None:
    """Of the whole model, parts included that are not exported; None before anything tells the vocabulary."""
    if run.newest is not None:
        return sum(int(np.prod(shape, dtype=np.int64)) for shape in run.newest.parameters.values())
    vocab_size = run.stages.get("prep", {}).get("vocab_size")
    return count_parameters(run.config.model, vocab_size) if vocab_size else None


def heldout_change(run: Run) -> str:
    """The first held-out loss and the newest."""
    losses = [record["heldout_loss"] for record in run.heldout]
    return "-" if not losses else f"{losses[0]:.3f}" if len(losses) == 1 else f"{losses[0]:.3f} → {losses[-1]:.3f}"


def usual_speed(run: Run) -> str:
    """Tokens a second of the median step."""
    return count(round(statistics.median(run.values("tokens_per_second")))) if run.trained else "-"


def time_in_steps(run: Run) -> str:
    """How long all steps together took."""
    return format_duration(float(run.axes["time"][-1])) if run.trained else "-"


def _figures(run: Run) -> Rows:
    parameters = num_parameters(run)
    yield "steps", f"{run.step:,} of {run.config.training.steps:,}"
    yield "parameters", short(parameters) if parameters is not None else "-"
    yield "tokens", short(run.trained[-1]["tokens"]) if run.trained else "0"
    yield "held-out loss", heldout_change(run)
    yield "tokens/s", usual_speed(run)
    yield "time in steps", time_in_steps(run)


def _what(run: Run) -> Rows:
    config = run.config
    model, training = config.model, config.training
    layers = f"encoder {model.num_layers}" + (f" + decoder {model.decoder_layers}" if model.layers.has_decoder else "")
    yield "recipe", f"{config.recipe.name}: {config.recipe.summary} ({config.recipe.source})"
    yield "model", f"{model.layers.title}, layers {layers}, width {model.d_model}, heads {model.num_heads}"
    prepared = run.stages.get("prep")
    if prepared:
        documents, tokens = sum(prepared["documents"].values()), sum(prepared["tokens"].values())
        size = f"{documents:,} documents, {short(tokens)} tokens, vocabulary {prepared['vocab_size']:,}"
        yield "data", f"{size} ({prepared['dataset']})"
    batch = f"{config.batch_sizes} windows of {config.stream.window:,} tokens a step"
    yield "batch", f"{batch}, micro-batches of {training.micro_batch:,}"
    products = f", {training.float8} float8 products" if training.float8 else ""
    yield "ranks", f"{training.ranks}, ZeRO stage {training.zero_stage}, {training.precision}{products}"
    yield "learning rate", f"{training.learning_rate:g}, {training.schedule.kind}"
    yield "seed", str(config.run.seed)
    if "flops" in run.axes:
        yield "FLOPs", f"{run.axes['flops'][-1]:.3g} forward and backward"
    if run.newest is not None and run.newest.origin:
        yield "began from", str(run.newest.origin)


def _curves(run: Run, axes: list[str]) -> list[Chart]:
    terms = sorted({term for record in run.trained for term in record.get("terms", {})})
    heldout_terms = sorted({term for record in run.heldout for term in record["heldout_terms"]})
    marks = {axis: run.at(axis, restart_steps(run)) for axis in axes} if run.trained else None
    loss = [trained_curve(run, "loss", "training", 0), heldout_curve(run, "held out", 1)]
    note = "Dotted: a start from a checkpoint." if restart_steps(run) else ""
    charts = [draw("Loss", loss, axes, note, wide=True, marks=marks)]
    if len(terms) > 1:
        curves = [recorded_curve(run, "terms", term, term, n) for n, term in enumerate(terms)]
        charts.append(draw("Training loss by term", curves, axes))
    if len(heldout_terms) > 1:
        curves = [heldout_curve(run, term, n, term) for n, term in enumerate(heldout_terms)]
        charts.append(draw("Held-out loss by term", curves, axes))
    charts.append(draw("Learning rate", [trained_curve(run, "lr", "learning rate")], axes))
    charts.append(draw("Gradient norm, before clipping", [trained_curve(run, "grad_norm", "norm")], axes))
    charts += probe_charts([(0, "found", run)], axes)
    return [chart for chart in charts if chart is not None]


def _speed(run: Run, axes: list[str]) -> list[Chart]:
    speed = "Rows of all views."
    wait = f"Median {percent(float(np.median(run.values('data_wait'))))} of a step." if run.trained else ""
    charts = [
        draw("Tokens per second", [trained_curve(run, "tokens_per_second", "tokens/s")], axes, speed, "zero"),
        draw("Waiting for data", [trained_curve(run, "data_wait", "share of a step")], axes, wait, "share"),
    ]
    return [chart for chart in charts if chart is not None]


_MASKS: tuple[tuple[str, tuple[str, ...], Scale], ...] = (
    ("Share of tokens hidden", ("noise_density", "masked_share"), "share"),
    ("Mean length of a hidden span", ("mean_span_length",), "zero"),
    ("Labels and spans of a micro-batch", ("labels", "spans"), "zero"),
    ("Rows in use", ("encoder_fill", "decoder_fill"), "share"),
    ("Mean length of a sequence", ("encoder_mean_length", "decoder_mean_length"), "zero"),
)


def _masks(run: Run, axes: list[str]) -> list[Chart]:
    charts = []
    for title, keys, scale in _MASKS:
        curves = [recorded_curve(run, "views", key, _plain(key), n) for n, key in enumerate(keys)]
        charts.append(draw(title, curves, axes, scale=scale))
    return [chart for chart in charts if chart is not None]


def _plain(key: str) -> str:
    return key.replace("_", " ")
