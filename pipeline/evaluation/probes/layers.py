"""Which layer of the encoder is the best to export: entropy, curvature and invariance of each.

The recommended layer is the one whose mean vectors tell best which text a damaged version belongs to, which of the
paper's measures goes with downstream tasks (Skean et al. 2025, "Layer by Layer", section 4); of equals the earliest.
Export it with `spanwright export RUN --layers recommended`.
"""

from collections.abc import Sequence

import torch

from data_prep.errors import InputError
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.layers import curvature, damaged, info_nce, matrix_entropy
from pipeline.evaluation.subject import Subject

ABOUT = "entropy, curvature and invariance of every layer; recommends one to export"
NEEDS = "any encoder"
WINDOWS, DESCRIBED, SIZE = 256, 48, 96


def measure(subject: Subject) -> Figures:
    """Of each layer, 0 being the embeddings, which are not recommended."""
    size = min(SIZE, subject.habits.max_tokens)
    texts = [subject.tokenizer.decode(tokens) for _, tokens in subject.texts.windows(WINDOWS, size)]
    if len(texts) < 2:
        raise InputError("probe layers: it tells texts from each other, and there is one only")
    described = list(subject.model.layers([_around(subject, text) for text in texts[:DESCRIBED]]))
    first, second = (_vectors(subject, texts, version) for version in (0, 1))
    layers, invariance = {}, []
    for layer in range(subject.model.num_layers + 1):
        own = [states[layer] for states in described]
        told = info_nce(first[layer], second[layer])
        invariance.append(float(told.mean()))
        layers[str(layer)] = {
            "entropy": Figure.mean([matrix_entropy(states) for states in own]),
            "curvature": Figure.mean([curvature(states) for states in own if len(states) > 2]),
            "invariance": Figure.mean(told.numpy()),
        }
    best = 1 + max(range(subject.model.num_layers), key=lambda layer: (invariance[layer + 1], -layer))
    metrics = {"recommended_layer": Figure(float(best)), **layers[str(best)]}
    settings = {**subject.texts.settings, "windows": len(texts), "tokens": size, "damaged_letters": 0.1}
    return Figures(metrics, {"layer": layers}, settings)


def _around(subject: Subject, text: str) -> list[int]:
    return subject.habits.around(subject.tokenizer.encode(text))


def _vectors(subject: Subject, texts: Sequence[str], version: int) -> list[torch.Tensor]:
    """The mean state of a damaged version of each text at each layer: [N, W] each."""
    sequences = [_around(subject, damaged(text, number, version)) for number, text in enumerate(texts)]
    means = [[states_RW.mean(0) for states_RW in taps] for taps in subject.model.layers(sequences)]
    return [torch.stack(layer) for layer in zip(*means, strict=True)]
