"""Arguments and options that several commands share."""

from collections.abc import Callable
from typing import Any

import click

CONFIG_HELP = (
    "CONFIG is a YAML file, the name of a recipe (`spanwright recipes`), or a run folder. "
    "OVERRIDES are written section.key=value, for example training.steps=2000 model=small."
)

Command = Callable[..., Any]


def config_arguments(command: Command) -> Command:
    """The arguments of every command that takes a config."""
    command = click.argument("overrides", nargs=-1)(command)
    return click.argument("config")(command)


def start_options(command: Command) -> Command:
    """The options of commands that train: where to start from."""
    for option in reversed(
        (
            click.option("--fresh", is_flag=True, help="Start training over (asks before it removes checkpoints)."),
            click.option("--yes", is_flag=True, help="Answer yes to what --fresh asks."),
            click.option("--from", "origin", metavar="STEP|RUN", help="Go on from this step, or from another run."),
            click.option("--weights-only", is_flag=True, help="With --from RUN: its weights, at step 0."),
            click.option("--allow-data-change", is_flag=True, help="Go on although the dataset or stream has changed."),
        )
    ):
        command = option(command)
    return command


def within_options(command: Command) -> Command:
    """The options of commands that clusters run."""
    command = click.option("--node", type=click.IntRange(min=0), help="Which of its nodes this is; 0 leads.")(command)
    return click.option("--within", metavar="CLUSTER", help="Train on this cluster, from within it.")(command)
