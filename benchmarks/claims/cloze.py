"""Held-out masked tokens, asked of frozen encoders by one probe: a new layer and a new head, trained for a few steps.

The layer sees all rows of a text, masks in their places. An encoder that was trained with masks in its input gets them
there; one that never saw any reads the visible tokens alone, and masks join in the probe's layer. The hidden tokens are
the same for both, 15 % and all of them masks.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.claims.runs import Runs
from pipeline.batch import Views
from pipeline.evaluation.objective import load_objective
from pipeline.model.heads import MaskedHead
from pipeline.model.initialisation import initialise
from pipeline.model.labels import labelled
from pipeline.model.late_layers import LateLayers
from pipeline.model.pretrained import EncoderModel
from pipeline.model.streams import key_streams
from pipeline.objectives.masked_autoencoder import put_back
from pipeline.training.assembly import open_data

QUESTIONS = (
    "corruption.select={kind: exactly_k, rate: 0.15}",
    "corruption.replace.mask=1.0",
    "corruption.replace.random=0",
)
PROBE_STEPS, PEAK_RATE = 150, 3e-3


class ClozeProbe(nn.Module):
    """A layer and a head of its own on a frozen encoder; `model` has no gradient."""

    def __init__(self, model: EncoderModel, seed: int) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.late = LateLayers(model.config, 1)
        self.head = MaskedHead(model.config, model.vocab_size, nn.Parameter(torch.empty_like(model.embedding.weight)))
        initialise(self.late, model.config, seed, prefix="probe.late.")
        initialise(self.head, model.config, seed, prefix="probe.head.")
        key_streams(self.late, seed, prefix="probe.late.")

    def forward(self, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
        """The states [L, W] for the head at the hidden tokens, and the tokens [L]."""
        whole = views.get("decoder", views["encoder"])
        with torch.no_grad():
            states_TW = self.model.encode(views["encoder"])
            if whole is not views["encoder"]:
                embedded_TW = self.model.encoder.inputs(self.model.embed(whole), whole)
                states_TW = put_back(states_TW, views["encoder"], embedded_TW, whole)
        rows_L, labels_L = labelled(whole)
        return self.late.see_all(states_TW, whole)[rows_L], labels_L


@dataclass(frozen=True)
class Cloze:
    """What the probe knows of held-out text."""

    loss: float
    accuracy: float


def cloze(runs: Runs, recipe: str, seed: int, steps: int = PROBE_STEPS) -> Cloze:
    """Fit the probe to `steps` batches that come after those of training, and ask it about the held-out windows."""
    config = runs.config(recipe, seed, *QUESTIONS)
    data = open_data(config)
    objective: Any = load_objective(runs.config(recipe, seed), runs.tokenizer.vocab_size)
    probe = ClozeProbe(objective.model, seed)
    optimizer = torch.optim.AdamW([p for p in probe.parameters() if p.requires_grad], lr=PEAK_RATE, betas=(0.9, 0.98))
    windows = config.training.global_batch
    for step in range(steps):
        views = data.micro_batches[(config.training.steps + step) * windows].to("cpu").views
        states_LW, labels_L = probe(views)
        optimizer.param_groups[0]["lr"] = PEAK_RATE * min(1.0, 10 * (step + 1) / steps, 2 * (steps - step) / steps)
        optimizer.zero_grad(set_to_none=True)
        (probe.head(states_LW, labels_L) / len(labels_L)).backward()
        optimizer.step()
    return _ask(probe, data.heldout)


@torch.no_grad()
def _ask(probe: ClozeProbe, heldout: Any) -> Cloze:
    probe.eval()
    losses, right, count = [], 0, 0
    for number in range(-(-heldout.num_samples // heldout.micro_batch)):
        states_LW, labels_L = probe(heldout.micro_batch_at(number).to("cpu").views)
        losses.append(float(probe.head(states_LW, labels_L)))
        right += int((probe.head(states_LW).argmax(-1) == labels_L).sum())
        count += len(labels_L)
    return Cloze(math.fsum(losses) / count, right / count)
