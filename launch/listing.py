"""What exists: recipes, checkpoints, damaged files."""

import datetime
import json
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table

from data_prep.errors import CorruptionError, InputError
from data_prep.shards.audit import audit_dataset
from launch.terminal import count, table
from pipeline.checkpoint.load import saved_steps, step_folder
from pipeline.checkpoint.places import open_store
from pipeline.checkpoint.store import Folder, set_aside_folders
from pipeline.checkpoint.verify import audit_checkpoint, checkpoint_bytes, verify_checkpoint
from pipeline.config import ModelConfig, load_config
from pipeline.config_files import builtin_configs, load_tree
from pipeline.model.config import count_parameters
from pipeline.validation import validate_tree

# The vocabulary parameter counts are stated for: T5's own size.
STATED_VOCAB_SIZE = 32128
# What `spanwright recipes --json` says of a recipe; tables for people add its `summary`.
JSON_FIELDS = ("name", "family", "needs", "parameters", "export", "source", "variants")


def recipe_facts() -> list[dict[str, Any]]:
    """One object per built-in recipe: JSON_FIELDS and `summary`; parameters are those at its own size."""
    facts = []
    for path in sorted((builtin_configs() / "recipes").glob("*.yaml")):
        config = load_config(str(path), ("data.paths=[corpus]",))
        parameters = count_parameters(config.model, STATED_VOCAB_SIZE)
        needs = [f"data.columns.{column.name}" for column in config.columns]
        needs += ["corruption.replace.table"] if getattr(config.corruption.replace, "table", None) else []
        facts.append(
            {**config.recipe.model_dump(mode="json", exclude={"columns"}), "parameters": parameters, "needs": needs}
        )
    return facts


def recipes_json(facts: list[dict[str, Any]]) -> str:
    """The facts for programs: a JSON list of objects."""
    return json.dumps([{field: fact[field] for field in JSON_FIELDS} for fact in facts], indent=1)


def recipe_tables(facts: list[dict[str, Any]]) -> RenderableType:
    """The recipes, and the model sizes any of them can use."""
    recipes: list[RenderableType] = []
    for fact in facts:
        title = (
            f"[bold]{fact['name']}[/]  {fact['family']}, {count(fact['parameters'])} parameters, to {fact['export']}"
        )
        recipes += [title, Padding(f"{fact['summary']}\n[dim]{fact['source']}[/]\n", (0, 0, 0, 4), expand=False)]
    sizes = []
    for path in (builtin_configs() / "models").glob("*.yaml"):
        model = validate_tree(load_tree(path), ModelConfig)
        sizes.append((count_parameters(model, STATED_VOCAB_SIZE), path.stem, model))
    columns = ("model", "parameters", "d_model", "layers", "heads", "d_ff")
    rows = [
        (name, count(total), str(m.d_model), f"{m.num_layers}+{m.decoder_layers}", str(m.num_heads), str(m.d_ff))
        for total, name, m in sorted(sizes, key=lambda size: size[0])
    ]
    title = f"Sizes (model=NAME), parameters with a vocabulary of {STATED_VOCAB_SIZE:,}:"
    return Group(*recipes, title, table(columns, rows, numeric=columns[1:]))


def checkpoint_table(place: str) -> Table:
    """The checkpoints at a path or URL, newest first, each verified; then those set aside."""
    rows = [_checkpoint_row(step_folder(place, step)) for step in saved_steps(place)]
    rows += [(name, *[""] * 6, "set aside") for name in set_aside_folders(open_store(place).folders())]
    if not rows:
        raise InputError(f"{place}: no checkpoints here yet; `spanwright train` with this config makes them.")
    columns = ("checkpoint", "step", "position", "tokens", "loss", "size", "age", "state")
    made = table(columns, rows, numeric=columns[1:-1])
    made.columns[0].no_wrap = True  # a name is there to be copied
    return made


def _checkpoint_row(folder: Folder) -> tuple[str, ...]:
    try:
        record = verify_checkpoint(folder)
    except CorruptionError as error:
        return (folder.name, "", "", "", "", "", "", str(error).removeprefix(f"{folder}/"))
    loss = f"{float.fromhex(record.last_loss):.4f}" if record.last_loss else ""
    size = f"{checkpoint_bytes(folder) / 1e6:.1f} MB"
    figures = (f"{record.step:,}", f"{record.position:,}", count(record.tokens), loss, size, _age(record.saved_at))
    return (folder.name, *figures, "valid")


def _age(saved_at: str | None) -> str:
    if saved_at is None:
        return ""
    seconds = (datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(saved_at)).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def audit_folder(folder: Path) -> list[str]:
    """Every problem of the dataset, the checkpoint, or of all of them in the run, at `folder`."""
    if (folder / "config.yaml").is_file():
        config = load_config(str(folder))
        dataset = [config.data_dir] if _is_dataset(config.data_dir) else []
        saved = [step_folder(config.checkpoints, step) for step in reversed(saved_steps(config.checkpoints))]
        if not dataset and not saved:
            raise InputError(f"{folder}: this run has neither a finished dataset nor a checkpoint yet.")
        problems = [problem for part in dataset for problem in audit_folder(part)]
        return problems + [problem for checkpoint in saved for problem in audit_checkpoint(checkpoint)]
    if _is_dataset(folder):
        return list(audit_dataset(folder).problems)
    if (folder / "manifest.json").is_file():
        return audit_checkpoint(folder)
    raise InputError(f"{folder}: neither a dataset, nor a checkpoint, nor a run.")


def _is_dataset(folder: Path) -> bool:
    return (folder / "tokenizer").is_dir() or any(folder.glob("*.index"))
