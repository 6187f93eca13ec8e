"""The flat batch: a list of tokens with sequence boundaries. No padded [batch, length] exists anywhere.

Shape suffixes: T rows (tokens of many sequences, one after another), N sequences, B samples of the micro-batch.

Invariants of a Batch
1. Row t belongs to sequence n when cu_seqlens[n] <= t < cu_seqlens[n + 1].
2. T and N are fixed for a run (static shapes): unused sequences at the end are empty (their boundary repeats), and rows
   from cu_seqlens[-1] on are the *tail*: they belong to no sequence, cost no attention, carry no label. Where shapes
   may differ, most of the tail is cut off (`MicroBatch.placed`).
3. (sample_positions[t], sample_rows[t]) names row t independently of ranks, workers and micro-batches; everything that
   is drawn for a row uses these two as its counter. In the tail sample_positions is -1.
4. Sequence n of one view and sequence n of another view of the same micro-batch come from the same document piece.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

Array = Any  # numpy.ndarray while the loader builds it, torch.Tensor on the device

IGNORED_LABEL = -100
_SIZES = 32  # of a view without its tail, at most: libraries prepare products for every size they meet
_LEAST_ROWS = 16


@dataclass(frozen=True)
class Batch:
    """One view (what the encoder, or the decoder, gets) of a micro-batch."""

    tokens: Array  # [T] int32
    positions: Array  # [T] int32, the position each row tells the model (0-based within its sequence)
    cu_seqlens: Array  # [N + 1] int32
    sample_rows: Array  # [T] int32, row within the sample's view
    sample_positions: Array  # [T] int64, the run's position of the row's sample; -1 in the tail
    labels: Array | None = None  # [T] int32, IGNORED_LABEL where there is no loss
    token_types: Array | None = None  # [T] int32, the segment of a pair each row belongs to; None: all 0
    pair_labels: Array | None = None  # [N] int32, 1 where a pair is not as its text is, else 0; or IGNORED_LABEL

    def to(self, device: "str | torch.device") -> "Batch":
        """The same batch as torch tensors on `device` (NumPy arrays are wrapped, not copied, on CPU)."""
        import torch  # here, so that configs, inspection and the loader's NumPy side start without it

        return dataclasses.replace(
            self,
            **{
                field.name: torch.as_tensor(value).to(device)
                for field in dataclasses.fields(self)
                if (value := getattr(self, field.name)) is not None
            },
        )

    def without_tail(self) -> "Batch":
        """The same with fewer rows in the tail: T becomes the next multiple of a 32nd of it, or of 16 rows."""
        size = len(self.tokens)
        step = max(_LEAST_ROWS, size // _SIZES // _LEAST_ROWS * _LEAST_ROWS)
        kept = min(size, max(1, -(-self.num_rows // step)) * step)
        return dataclasses.replace(
            self, **{name: values[:kept] for name in _OF_ROWS if (values := getattr(self, name)) is not None}
        )

    @property
    def num_rows(self) -> int:
        """Rows that belong to a sequence (T less the tail)."""
        return int(self.cu_seqlens[-1])

    @property
    def num_sequences(self) -> int:
        """Sequences that have rows (the unused ones at the end are not counted, an empty one before the end is)."""
        return int((self.cu_seqlens < self.cu_seqlens[-1]).sum())

    def sequence(self, n: int) -> slice:
        """The rows of sequence n."""
        return slice(int(self.cu_seqlens[n]), int(self.cu_seqlens[n + 1]))

    @property
    def num_labels(self) -> int:
        """Rows that carry a label."""
        return 0 if self.labels is None else int((self.labels != IGNORED_LABEL).sum())


_OF_ROWS = [field.name for field in dataclasses.fields(Batch) if field.name not in ("cu_seqlens", "pair_labels")]

Views = dict[str, Batch]


@dataclass(frozen=True)
class MicroBatch:
    """What one rank reads for one forward: the views, and which samples they show."""

    views: Views
    positions: np.ndarray  # [B] int64, the run's positions of the samples

    def to(self, device: "str | torch.device") -> "MicroBatch":
        """The same micro-batch with every view on `device`."""
        return MicroBatch({name: view.to(device) for name, view in self.views.items()}, self.positions)

    def placed(self, device: "torch.device") -> "MicroBatch":
        """As it is computed on `device`: on a CPU, where static shapes gain nothing, with hardly a tail."""
        views = self.views
        if device.type == "cpu":
            views = {name: view.without_tail() for name, view in views.items()}
        return MicroBatch(views, self.positions).to(device)
