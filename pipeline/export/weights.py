"""The weights of the model that a run exports, read when asked for."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from data_prep.errors import SpanwrightError
from pipeline.checkpoint.weights import CheckpointWeights
from pipeline.export.layouts import OBJECTIVE_PREFIX

_EMBEDDING = "embedding.weight"


class ModelWeights(Mapping[str, Tensor]):
    """An objective's `weights` that are the model's, by the model's own names: parts beside the model are left out."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        shapes = weights.shapes if isinstance(weights, CheckpointWeights) else {n: t.shape for n, t in weights.items()}
        self.shapes = {
            name.removeprefix(OBJECTIVE_PREFIX): tuple(shape)
            for name, shape in shapes.items()
            if name.startswith(OBJECTIVE_PREFIX)
        }

    def __getitem__(self, name: str) -> Tensor:
        """The weight `name`."""
        return self._weights[OBJECTIVE_PREFIX + name]

    def __iter__(self) -> Iterator[str]:
        """The model's names in order, in which reading a checkpoint reads each of its files once."""
        return iter(sorted(self.shapes))

    def __len__(self) -> int:
        """The number of the model's parameters."""
        return len(self.shapes)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""
        if _EMBEDDING not in self.shapes:
            raise SpanwrightError(f"export: these weights have no {_EMBEDDING}; this is not a model of ours")
        return self.shapes[_EMBEDDING][0]
