"""Any recipe, small: two narrow layers on a real corpus of a few hundred kilobytes, trained in this process.

What a recipe of its own needs to be small is in its entry of `SPECIAL`.
"""

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import MicroBatch
from pipeline.config import RunConfig, load_config
from pipeline.config_files import builtin_configs
from pipeline.corruption.build_similar import nearest_ids
from pipeline.corruption.replace import ordinary_tokens
from pipeline.objectives import build_objective
from pipeline.training.assembly import Data, open_data
from pipeline.training.loop import global_loss

RECIPES = sorted(path.stem for path in (builtin_configs() / "recipes").glob("*.yaml"))
WINDOW = 64
POSITIONS = {
    "t5": "t5",
    "bart": "{kind: learned, max_positions: 160}",
    "bert": "{kind: learned, max_positions: 160}",
    "electra": "{kind: learned, max_positions: 160}",
    "mpnet": "{kind: mpnet, max_positions: 160}",
    "modernbert": "{kind: rope, base: 1000, local_base: 100}",
}
DATASET_VOCAB_SIZE = 1000
TABLES = tempfile.TemporaryDirectory(prefix="spanwright_tables_")
# Recipes that draw similar tokens: their tables are made for each vocabulary.
WITH_TABLE = ("c_rts", "macbert")
# Overrides that a recipe needs besides those of every recipe.
SPECIAL: dict[str, tuple[str, ...]] = {
    "c_rts": ("training.learning_rate=2e-3",),  # at 3e-3 nothing but the share of replaced tokens is learned for long
    "cocondenser": ("objective.early_layer=1", "objective.contrast.group=16"),
    "condenser": ("objective.early_layer=1",),
}


def small(recipe: str, data_dir: Path, *overrides: str, vocab_size: int = DATASET_VOCAB_SIZE) -> RunConfig:
    """The recipe's config with a tiny model of its own architecture on the dataset in `data_dir`."""
    architecture = _architecture(recipe)
    epsilon = "1e-5" if architecture == "bart" else "1e-6"
    local = ", local_attention: 16" if architecture == "modernbert" else ""
    model = (
        f"{{architecture: {architecture}, d_model: 64, d_kv: 16, d_ff: 128, num_layers: 2, num_heads: 4, "
        f"positions: {POSITIONS[architecture]}, layer_norm_epsilon: {epsilon}{local}}}"
    )
    return load_config(
        recipe,
        [
            "data.paths=[corpus]", f"data.dir={data_dir}", f"model={model}", f"stream.window={WINDOW}",
            "training.steps=100", "training.global_batch=16", "training.micro_batch=16", "training.heldout_samples=32",
            "training.loader_workers=0", "training.schedule.warmup_steps=4", "training.schedule.warmup_ratio=0",
            "training.learning_rate=3e-3", *SPECIAL.get(recipe, ()), *table_for(recipe, vocab_size), *overrides,
        ],
    )  # fmt: skip


@functools.cache
def _architecture(recipe: str) -> str:
    return load_config(recipe, ["data.paths=[corpus]"]).model.architecture


def table_for(recipe: str, vocab_size: int) -> tuple[str, ...]:
    """The override that gives the recipe its table of similar tokens, if it draws any: those with the nearest ids."""
    if recipe not in WITH_TABLE:
        return ()
    path = Path(TABLES.name) / f"similar_{vocab_size}.npy"
    if not path.exists():
        np.save(path, nearest_ids(ordinary_tokens(SpecialTokens(), vocab_size), vocab_size, 4))
    return (f"corruption.replace.table={path}",)


def train(config: RunConfig, steps: int) -> tuple[Any, list[float], float, float]:
    """The objective after `steps` updates by AdamW in float32, its losses, and the held-out loss before and after."""
    data = open_data(config)
    objective: Any = build_objective(config.objective, config.model, data.tokenizer.vocab_size, config.run.seed)
    optimizer = torch.optim.AdamW(objective.parameters(), config.training.learning_rate, weight_decay=0.01)
    before, losses = heldout_loss(objective, data), []
    for step in range(steps):
        loss = loss_of(objective, data.micro_batches[step * config.training.micro_batch])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return objective, losses, before, heldout_loss(objective, data)


def loss_of(objective: Any, micro_batch: MicroBatch) -> torch.Tensor:
    """The loss of one micro-batch as training computes it."""
    views = micro_batch.to("cpu").views
    return global_loss(objective(views), objective.counts(views))


def heldout_loss(objective: Any, data: Data) -> float:
    """The sum of the terms' means over the held-out samples."""
    return sum(heldout_terms(objective, data).values())


@torch.no_grad()
def heldout_terms(objective: Any, data: Data) -> dict[str, float]:
    """Each term's mean over the held-out samples."""
    assert data.heldout is not None, "the corpus is large enough to hold documents out"
    objective.eval()
    batches = [data.heldout.micro_batch_at(n) for n in range(-(-data.heldout.num_samples // data.heldout.micro_batch))]
    sums: dict[str, list[float]] = {}
    for micro_batch in batches:
        for term, (value, count) in objective(micro_batch.to("cpu").views).items():
            pair = sums.setdefault(term, [0.0, 0])
            pair[0], pair[1] = pair[0] + value.item(), pair[1] + count
    objective.train()
    return {term: value / max(count, 1) for term, (value, count) in sums.items()}
