"""compare.html: several runs over each other, and what their configs differ in."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.pages.charts import NUM_COLOURS
from data_prep.pages.frame import as_bytes, template
from data_prep.pages.words import short
from data_prep.shards.files import named_errors, publish, staged_bytes
from launch.report.curves import (
    AXIS_NAMES,
    Chart,
    Curve,
    common_axes,
    draw,
    heldout_curve,
    recorded_curve,
    trained_curve,
)
from launch.report.evaluations import evaluation_table
from launch.report.probes import probe_charts
from launch.report.report import heldout_change, num_parameters, time_in_steps, usual_speed
from launch.report.run import Run, read_run

_MOST_RUNS = 3 * NUM_COLOURS
# Where a run lies is no difference, and what a recipe says of itself follows from its name.
_NO_DIFFERENCE = ("run.dir", "recipe.summary", "recipe.source", "recipe.family", "recipe.export", "recipe.variants")


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Write the comparison of the runs in `folders` to `out`; InputError for fewer than two, or the same one twice."""
    if len(folders) < 2:
        raise InputError("compare: give two runs or more; `spanwright report RUN` shows one.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("compare: the same run is given twice.")
    if len(folders) > _MOST_RUNS:
        raise InputError(f"compare: {len(folders)} runs are too many for one chart; give at most {_MOST_RUNS}.")
    page = comparison_page([read_run(folder) for folder in folders])
    with named_errors(out.parent, "write"):
        out.parent.mkdir(parents=True, exist_ok=True)
    publish([staged_bytes(out.resolve(), page)])
    return out


def comparison_page(runs: Sequence[Run]) -> bytes:
    """The page's bytes."""
    axes, names = common_axes(runs), run_names(runs)
    evaluations = [run.evaluations[-1] if run.evaluations else None for run in runs]
    page = template(Path(__file__).parent, "compare.html.jinja").render(
        names=names,
        colours=[number % NUM_COLOURS for number in range(len(runs))],
        made=time.strftime("%Y-%m-%d %H:%M %Z"),
        problems=[problem for run in runs for problem in run.problems],
        not_begun=[name for name, run in zip(names, runs, strict=True) if not run.trained],
        axes=[(axis, AXIS_NAMES[axis]) for axis in axes],
        charts=_charts(runs, names, axes),
        objectives=sorted({run.config.objective["kind"] for run in runs}),
        figures=list(_figures(runs)),
        evaluated=[found["step"] if found else None for found in evaluations],
        evaluation=evaluation_table(evaluations) if any(evaluations) else [],
        differences=differences([run.config.model_dump(mode="json") for run in runs]),
    )
    return as_bytes(page)


def run_names(runs: Sequence[Run]) -> list[str]:
    """The folders' names, with as many of those above them as it takes to tell them apart."""
    parts = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(run.folder) for run in runs]


def differences(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Each field that is not the same in all configs, and its values; "-" where a config has no such field."""
    flat = [dict(_flat("", config)) for config in configs]
    fields = dict.fromkeys(field for config in flat for field in config)
    rows = [(field, [config.get(field, "-") for config in flat]) for field in fields if field not in _NO_DIFFERENCE]
    return [(field, values) for field, values in rows if len(set(values)) > 1]


def _flat(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{place}.{key}" if place else str(key), inner)
    else:
        yield place, "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _charts(runs: Sequence[Run], names: Sequence[str], axes: list[str]) -> list[Chart]:
    numbered = [(number, name, run) for number, (name, run) in enumerate(zip(names, runs, strict=True)) if run.trained]
    heldout = [heldout_curve(run, name, number) for number, name, run in numbered]
    loss = _by_run(numbered, "loss")
    charts = [draw("Held-out loss", heldout, axes, wide=True), draw("Training loss", loss, axes, wide=True)]
    terms = [{term for record in run.trained for term in record.get("terms", {})} for _, _, run in numbered]
    for term in sorted(set.intersection(*terms)) if terms and max(map(len, terms)) > 1 else ():
        curves = [recorded_curve(run, "terms", term, name, number) for number, name, run in numbered]
        charts.append(draw(f"Training loss, {term}", curves, axes))
    for title, field in (
        ("Tokens per second", "tokens_per_second"),
        ("Learning rate", "lr"),
        ("Gradient norm", "grad_norm"),
    ):
        charts.append(draw(title, _by_run(numbered, field), axes))
    charts += probe_charts(numbered, axes)
    return [chart for chart in charts if chart is not None]


def _by_run(numbered: Sequence[tuple[int, str, Run]], field: str) -> list[Curve]:
    """A field of each run; of many runs the single steps would hide each other."""
    return [replace(trained_curve(run, field, name, number), pale=False) for number, name, run in numbered]


def _figures(runs: Sequence[Run]) -> Iterator[tuple[str, list[str]]]:
    parameters = [num_parameters(run) for run in runs]
    yield "recipe", [run.config.recipe.name for run in runs]
    yield "state", [run.state for run in runs]
    yield "parameters", ["-" if number is None else short(number) for number in parameters]
    yield "steps", [f"{run.step:,} of {run.config.training.steps:,}" for run in runs]
    yield "tokens", [short(run.trained[-1]["tokens"]) if run.trained else "0" for run in runs]
    yield "FLOPs", [f"{run.axes['flops'][-1]:.3g}" if run.trained and "flops" in run.axes else "-" for run in runs]
    yield "time in steps", [time_in_steps(run) for run in runs]
    yield "tokens/s", [usual_speed(run) for run in runs]
    yield "training loss", [f"{run.trained[-1]['loss']:.4f}" if run.trained else "-" for run in runs]
    yield "held-out loss", [heldout_change(run) for run in runs]
