"""The commands about clusters: submit, status, logs, cancel, plan. See launch.cli."""

import json
from pathlib import Path

import click

from data_prep.errors import InputError, SpanwrightError
from launch.arguments import CONFIG_HELP, allow_data_change_option, config_arguments
from launch.terminal import console, detail, show_error

run_folder = click.argument("run", type=click.Path(path_type=Path))


@click.command(short_help="Run on a cluster: Slurm, Ray, Kubernetes, hosts, local", epilog=CONFIG_HELP)
@config_arguments
@click.option("--cluster", required=True, help="A YAML file, or local, hostfile, slurm, ray, kubernetes.")
@click.option("--dry-run", "--print", "dry_run", is_flag=True, help="Only print what would be submitted.")
@click.option("--no-trial", is_flag=True, help="Do not try one step on one rank here first.")
@allow_data_change_option
def submit(
    config: str, overrides: tuple[str, ...], cluster: str, dry_run: bool, no_trial: bool, allow_data_change: bool
) -> None:
    """Run everything on a cluster. OVERRIDES that begin with `cluster.` are the cluster's.

    What the cluster cannot do is an error before anything is submitted.
    """
    from launch.clusters.load import fitted, load_cluster, split_overrides
    from launch.start import Start
    from launch.submit import show
    from launch.submit import submit as submit_run
    from pipeline.config import load_config

    of_run, of_cluster = split_overrides(overrides)
    target = load_cluster(cluster, of_cluster)
    loaded = fitted(load_config(config, of_run), target)
    if dry_run:
        show(loaded, target)
    else:
        submit_run(loaded, target, trial=not no_trial, start=Start(allow_data_change=allow_data_change))


@click.command(short_help="Runs: stage, step, speed, loss, time left, jobs")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects.")
def status(run: Path | None, as_json: bool) -> None:
    """Where RUN stands (without it: all runs below ./runs)."""
    from launch.status import as_json as plain
    from launch.status import find_runs, status_lines, status_of

    statuses = []
    for folder in find_runs(run):
        try:
            statuses.append(status_of(folder))
        except SpanwrightError as error:  # as one of another version: the others are worth showing
            show_error(f"{folder}: {error}")
    if as_json:
        click.echo(json.dumps(plain(statuses), indent=1))
        return
    if not statuses:
        console.print("no runs below ./runs")
    for line in (line for one in statuses for line in status_lines(one)):
        console.print(line, markup=False, soft_wrap=True)


@click.command(short_help="What a run's jobs or ranks wrote")
@run_folder
@click.option("--rank", type=click.IntRange(min=0), help="The log of this rank.")
@click.option("--follow", is_flag=True, help="Go on until the run has ended (or Ctrl-C).")
def logs(run: Path, rank: int | None, follow: bool) -> None:
    """Print the logs of RUN: those of its jobs, or of one rank."""
    from launch.status import find_runs, follow_logs, log_files

    [folder] = find_runs(run)
    if not log_files(folder, rank):
        raise InputError(f"{run}: no logs there yet" + (f" of rank {rank}" if rank is not None else ""))
    for text in follow_logs(folder, rank, follow):
        click.echo(text, nl=False)


@click.command(short_help="Stop a submitted run; training saves first")
@run_folder
def cancel(run: Path) -> None:
    """Cancel the jobs of RUN. A training that runs saves first; `submit` again continues it."""
    from launch.jobs import cancel_jobs
    from launch.status import find_runs

    [folder] = find_runs(run)
    detail(f"cancelled: {', '.join(cancel_jobs(folder))}")


@click.command(short_help="What would run; what it takes on other hardware", epilog=CONFIG_HELP)
@config_arguments
@click.option("--gpus", type=click.IntRange(min=1), help="Plan for so many GPUs.")
@click.option("--gpu", "gpu_name", default="h100", show_default=True, help="Which GPUs.")
@click.option("--gpus-per-node", type=click.IntRange(min=1), default=8, show_default=True)
@click.option(
    "--mfu", type=click.FloatRange(min=0.0, max=1.0, min_open=True), help="Share of the peak that is reached."
)
@click.option("--network", type=click.FloatRange(min=0.0, min_open=True), help="GB/s per GPU between nodes.")
@click.option("--json", "as_json", is_flag=True, help="With --gpus: one JSON object.")
def plan(
    config: str,
    overrides: tuple[str, ...],
    gpus: int | None,
    gpu_name: str,
    gpus_per_node: int,
    mfu: float | None,
    network: float | None,
    as_json: bool,
) -> None:
    """Show the resolved config and what `run` would do; with --gpus, what that takes on those GPUs.

    Nothing is done, measured or contacted.
    """
    from launch.stages import describe_stages
    from pipeline.config import load_config
    from pipeline.config_files import dump_yaml

    loaded = load_config(config, overrides)
    if gpus is None:
        console.print(dump_yaml(loaded.model_dump(mode="json", exclude_none=True)), markup=False, soft_wrap=True)
        console.print(describe_stages(loaded))
        return
    from launch.planning.hardware import MFU, NETWORK_GB_PER_SECOND, find_gpu
    from launch.planning.plan import Assumptions, make_plan, plan_json, plan_lines, vocab_size_of

    gpu = find_gpu(gpu_name)
    assumed = Assumptions(gpus, gpus_per_node, mfu or MFU, network or NETWORK_GB_PER_SECOND)
    made = make_plan(loaded, vocab_size_of(loaded), gpu, assumed)
    if as_json:
        click.echo(json.dumps(plan_json(made, gpu, assumed), indent=1))
        return
    for name, figure in plan_lines(made, loaded, gpu, assumed):
        console.print(f"{name:<20} {figure}", markup=False, soft_wrap=True)


COMMANDS = (submit, status, logs, cancel, plan)
