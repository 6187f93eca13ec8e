"""Arguments and options that several commands share."""

import difflib
from collections.abc import Callable
from typing import Any

import click

CONFIG_HELP = (
    "CONFIG is a YAML file, the name of a recipe (`spanwright recipes`), or a run folder. "
    "OVERRIDES are written section.key=value, for example training.steps=2000 model=small."
)

Command = Callable[..., Any]
TARGETS = ("hf", "encoder", "sentence-transformers", "onnx", "native")
"""What `--to` of `export` may name, as ExportConfig has it (which would import more than `--help` needs)."""


class TargetsCommand(click.Command):
    """A command whose `--to` takes several words: `--to hf encoder` is `--to hf --to encoder`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Click's own parsing of the spelled-out arguments."""
        spelled: list[str] = []
        for word in args:
            # A misspelled target is one too: it is refused as such, not as an override.
            means_target = bool(difflib.get_close_matches(word, TARGETS, n=1))
            goes_on = len(spelled) > 1 and spelled[-2] == "--to" and means_target
            spelled += ["--to", word] if goes_on else [word]
        return super().parse_args(ctx, spelled)


allow_data_change_option = click.option(
    "--allow-data-change", is_flag=True, help="Go on although the dataset or stream has changed."
)


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
            click.option("--init", metavar="hf:PATH", help="Begin with the weights of a Hugging Face checkpoint."),
            click.option("--weights-only", is_flag=True, help="With --from RUN: its weights, at step 0."),
            click.option("--profile", metavar="STEPS", help="Trace so many steps (5) or these (7-9): where time goes."),
            allow_data_change_option,
        )
    ):
        command = option(command)
    return command


def within_options(command: Command) -> Command:
    """The options of commands that clusters run."""
    command = click.option("--node", type=click.IntRange(min=0), help="Which of its nodes this is; 0 leads.")(command)
    return click.option("--within", metavar="CLUSTER", help="Train on this cluster, from within it.")(command)
