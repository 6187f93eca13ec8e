"""The `spanwright` command. Each subcommand reads its config, calls one function and prints what came of it.

Exit codes: 0 done, 1 failed, 2 wrong input, 75 stopped early but resumable. Heavy libraries are imported only by the
commands that use them, so `--help` is quick.
"""

import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from data_prep.errors import InputError, SpanwrightError, StoppedEarlyError
from data_prep.shards.names import is_dataset
from launch.arguments import CONFIG_HELP, TARGETS, TargetsCommand, config_arguments, start_options, within_options
from launch.cluster_commands import COMMANDS
from launch.terminal import console, count_of, show_error


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(importlib.metadata.version("spanwright"), prog_name="spanwright")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Pretrain an encoder-decoder on your own corpus: raw text in, a Hugging Face model out.

    A run is a folder. Any command can be stopped at any moment; the same command continues it.
    """


for _command in COMMANDS:
    cli.add_command(_command)


@cli.command(short_help="Everything: prep, train, export, evaluate", epilog=CONFIG_HELP)
@config_arguments
@start_options
@within_options
def run(
    config: str, overrides: tuple[str, ...], fresh: bool, yes: bool, within: str | None, node: int | None, **start: Any
) -> None:
    """Everything: prep, train, export, evaluate.

    Finished stages are skipped, a stopped one continues.
    """
    stages = ("prep", "train", "export", "evaluate")
    _run(config, overrides, stages, _confirm_fresh(fresh, yes), within, node, start)


@cli.command(short_help="Corpus to token shards", epilog=CONFIG_HELP)
@config_arguments
def prep(config: str, overrides: tuple[str, ...]) -> None:
    """Corpus to token shards: tokenizer, WebDataset tars, manifest."""
    from launch.stages import run_stages
    from pipeline.config import load_config

    run_stages(load_config(config, overrides), ("prep",))


@cli.command(short_help="Train, or continue", epilog=CONFIG_HELP)
@config_arguments
@start_options
@within_options
def train(
    config: str, overrides: tuple[str, ...], fresh: bool, yes: bool, within: str | None, node: int | None, **start: Any
) -> None:
    """Train, or continue from the newest valid checkpoint."""
    _run(config, overrides, ("train",), _confirm_fresh(fresh, yes), within, node, start)


@cli.command(short_help="Write the trained model for other libraries, verified", epilog=CONFIG_HELP, cls=TargetsCommand)
@config_arguments
@click.option("--to", "targets", multiple=True, help=f"One or more of {', '.join(TARGETS)}.")
@click.option("--layers", metavar="N|recommended", help="Of an encoder: keep its first N, or as many as a probe says.")
def export(config: str, overrides: tuple[str, ...], targets: tuple[str, ...], layers: str | None) -> None:
    """Write the trained model for other libraries and prove it is the same.

    --to hf encoder ... is short for export.to=[hf, encoder, ...], --layers N for export.encoder_layers=N;
    recommended is what `spanwright evaluate RUN layers` found. What is said here is for this export alone: the run's
    config stays as it is.
    """
    from launch.stages import run_stages
    from pipeline.config import load_config

    wanted = (f"export.to=[{', '.join(targets)}]",) if targets else ()
    if layers == "recommended":
        from pipeline.evaluation.results import recommended_layer

        layers = str(recommended_layer(load_config(config, overrides).run_dir))
    kept = (f"export.encoder_layers={layers}",) if layers else ()
    run_stages(load_config(config, (*overrides, *wanted, *kept)), ("export",), saves_config=False)


@cli.command(short_help="What a run or an export has learned", epilog=CONFIG_HELP)
@click.argument("target", metavar="RUN|EXPORT", required=False)
@click.argument("words", metavar="[PROBES]... [OVERRIDES]...", nargs=-1)
@click.option("--list", "lists", is_flag=True, help="The probes there are, and what each needs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--step", type=click.IntRange(min=0), help="Of a run: the checkpoint of this step (default: the newest).")
@click.option("--data", type=click.Path(path_type=Path), help="Ask about other text: a dataset's folder, or a YAML.")
@click.option("--pairs", type=click.Path(path_type=Path), help='Retrieval: JSON lines {"query": ..., "text": ...}.')
@click.option("--beside", multiple=True, type=click.Path(path_type=Path), help="Retrieval: a model to stand beside.")
def evaluate(target: str | None, words: tuple[str, ...], lists: bool, **options: Any) -> None:
    """What a run or an exported model has learned.

    Without PROBES: the run's evaluation stage (held-out loss, filled-in snippets). With them, or `all`: each is asked
    of the newest checkpoint, or of the exported folder by the library it was made for. Results lie in
    RUN/evaluation/STEP.json.
    """
    from launch.evaluation import Request, evaluate_request, probe_table

    if lists:
        console.print(probe_table())
        return
    if target is None:
        raise InputError("evaluate: give a run, a config or an exported folder; --list shows the probes.")
    request = Request.of_words(target, words, **options)
    if not request.is_stage:
        evaluate_request(request)
        return
    from launch.stages import run_stages
    from pipeline.config import load_config

    run_stages(load_config(target, request.overrides), ("evaluate",))


@cli.command(short_help="What encoder, decoder and loss get; a dataset's documents", epilog=CONFIG_HELP)
@config_arguments
@click.option("--text", help="Show this text (needs the tokenizer of the run).")
@click.option("--step", type=click.IntRange(min=1), help="Show what was in this step of the run.")
@click.option("--samples", type=click.IntRange(min=1), default=1, show_default=True, help="How many samples to show.")
@click.option("--documents", type=click.IntRange(min=1), default=3, show_default=True, help="Of a dataset: how many.")
@click.option("--split", default="train", show_default=True, help="Of a dataset: which documents, as heldout.")
def inspect(
    config: str,
    overrides: tuple[str, ...],
    text: str | None,
    step: int | None,
    samples: int,
    documents: int,
    split: str,
) -> None:
    """Show in colour what encoder, decoder and loss get, for a text or for a step of a run.

    For the folder of a dataset: its documents with their columns.
    """
    if is_dataset(config):
        from launch.documents import inspect_documents

        if overrides or text is not None or step is not None:
            raise InputError(f"inspect: {config} is a dataset; --text, --step and overrides need the config of a run.")
        for renderable in inspect_documents(Path(config), split, documents):
            console.print(renderable)
        return
    from launch.inspection import inspect_step, inspect_text
    from pipeline.config import load_config

    if (text is None) == (step is None):
        raise InputError("inspect: give either --text TEXT or --step N.")
    loaded = load_config(config, overrides)
    shown = inspect_text(loaded, text) if text is not None else inspect_step(loaded, step or 1, samples)
    for renderable in shown:
        console.print(renderable)


@cli.command(short_help="List and verify a run's checkpoints", epilog=CONFIG_HELP)
@config_arguments
def checkpoints(config: str, overrides: tuple[str, ...]) -> None:
    """List a run's checkpoints, each verified: step, position, tokens, loss, size, age."""
    from launch.listing import checkpoint_table
    from pipeline.config import load_config

    console.print(checkpoint_table(load_config(config, overrides).checkpoints))


@cli.command(short_help="One page about a run: curves, predictions, history")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to (default: RUN/report.html).")
def report(run: Path, out: Path | None) -> None:
    """Write report.html: what a run was, its curves, masks, predictions over time, evaluations, history, checkpoints.

    One file that loads nothing from anywhere. Of a run that still trains it shows where it stands.
    """
    from launch.report.report import write_report

    console.print(f"report: {write_report(run, out)}", highlight=False, soft_wrap=True)


@cli.command(short_help="One page about several runs, over each other")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("compare.html"),
    show_default=True,
    help="Where to.",
)
def compare(runs: tuple[Path, ...], out: Path) -> None:
    """Write a page about several runs: curves over each other, final figures, evaluations, differences of the configs.

    Others are compared with the first run.
    """
    from launch.report.compare import write_comparison

    console.print(f"comparison: {write_comparison(runs, out)}", highlight=False, soft_wrap=True)


@cli.command(short_help="The table of similar tokens that a recipe draws from", epilog=CONFIG_HELP)
@config_arguments
def similar(config: str, overrides: tuple[str, ...]) -> None:
    """Make the table of similar tokens (corruption.replace.table) from the prepared dataset."""
    from launch.similar import write_similar
    from pipeline.config import load_config

    console.print(f"similar tokens: {write_similar(load_config(config, overrides))}", highlight=False)


@cli.command(short_help="Re-hash a dataset, checkpoint or run")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def audit(folder: Path) -> None:
    """Re-hash a dataset, a checkpoint or a whole run; every damaged file is named."""
    from launch.listing import audit_folder

    problems = audit_folder(folder)
    for problem in problems:
        show_error(problem)
    if problems:
        raise SpanwrightError(f"{folder}: {count_of(len(problems), 'problem')} found.")
    console.print(f"{folder}: every file is as it was written.")


@cli.command(short_help="Recipes and model sizes")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects.")
def recipes(as_json: bool) -> None:
    """The recipes that come with Spanwright, with sizes and sources."""
    from launch.listing import recipe_facts, recipe_tables, recipes_json

    facts = recipe_facts()
    if as_json:
        click.echo(recipes_json(facts))
    else:
        console.print(recipe_tables(facts))


@cli.command(short_help="What this machine has and lacks")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(as_json: bool) -> None:
    """What this machine has, what it lacks, and how to get it."""
    from launch.doctor import examine, findings_table

    findings = examine()
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        console.print(findings_table(findings))
    if any(finding.needed and not finding.found for finding in findings):
        raise SpanwrightError("something Spanwright needs is missing: see above.")


def _run(
    config: str,
    overrides: tuple[str, ...],
    stages: tuple[str, ...],
    confirm_fresh: Callable[[Path], bool] | None,
    within: str | None,
    node: int | None,
    options: dict[str, Any],
) -> None:
    from launch.stages import run_stages
    from launch.start import Start
    from pipeline.config import load_config

    loaded, start = load_config(config, overrides), Start(**options)
    start.check()
    if within is not None:
        from launch.within import run_within

        run_within(loaded, stages, within, node, confirm_fresh, start)
    elif node is not None:
        raise InputError("--node goes with --within CLUSTER.")
    else:
        run_stages(loaded, stages, confirm_fresh, start=start)


def _confirm_fresh(fresh: bool, yes: bool) -> Callable[[Path], bool] | None:
    """None to resume; else the question asked before a run's checkpoints are removed."""
    if not fresh:
        return None
    return lambda folder: yes or _confirm(folder)


def _confirm(folder: Path) -> bool:
    try:
        return click.confirm(f"Remove the training state in {folder} and start over?", default=False)
    except (click.Abort, RuntimeError):  # RuntimeError: standard input is closed
        click.echo()
        raise InputError("--fresh: nobody answered, so nothing was removed; --yes answers yes.") from None


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        cli.main(prog_name="spanwright", standalone_mode=False)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        show_error(_message(error))
        sys.exit(getattr(error, "exit_code", StoppedEarlyError.exit_code if isinstance(error, click.Abort) else 1))


def _message(error: Exception) -> str:
    """One message for any error; click.Abort is what it makes of Ctrl-C."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{error.format_message()} `{error.ctx.command_path} --help` explains it."
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, click.Abort):
        return "interrupted. The same command continues where it stopped."
    if isinstance(error, SpanwrightError):
        return str(error)
    where = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{where}. Nobody foresaw this: `spanwright --debug COMMAND ...` shows where it happened; please report it."


if __name__ == "__main__":
    main()
