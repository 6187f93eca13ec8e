"""MPNet's two streams as one list of rows and one interval pattern (Song et al. 2020, sections 2.2 and 2.3).

A permuted sequence of L tokens with the last m hidden becomes L + 2m rows, all through the same layers:

    rows      tokens                  rank        see shown tokens and ...
    shown     L - m, as they are      i           all masks
    masks     m, what stands there    L + i       all masks
    content   m, the originals        i           originals up to themselves, masks after them
    queries   m, what stands there    none        originals before them, masks from their own place on

(i is a token's index in the drawn order.) Nobody sees a query; its last state predicts the original. Each row has the
position of its token. Shape suffixes: T rows of the view, L its rows with a label, R rows made here, N sequences.
"""

from dataclasses import dataclass

import torch

from pipeline.batch import Batch
from pipeline.kernels.attention import IntervalPattern
from pipeline.kernels.attention.patterns import row_indices
from pipeline.model.labels import labelled

_STREAM_ROWS = 1 << 24  # rows of the second and third kind are named apart from the view's own, for what is drawn


@dataclass(frozen=True)
class TwoStreams:
    """The rows, who sees whom among them, and what is asked."""

    view: Batch  # R rows, no tail
    pattern: IntervalPattern
    query_rows: torch.Tensor  # [L] int64
    labels: torch.Tensor  # [L]


def two_streams(view: Batch) -> TwoStreams:
    """The streams of a view in the permuted layout: labels, where there are any, at the end of each sequence."""
    rows_L, labels_L = labelled(view)
    num_rows = view.num_rows
    indices_T = row_indices(view.cu_seqlens, len(view.tokens))[:num_rows].to(torch.int64)
    lengths_N = view.cu_seqlens.diff().to(torch.int64)
    sequences_T = torch.repeat_interleave(torch.arange(len(lengths_N), device=lengths_N.device), lengths_N)
    hidden_N = torch.zeros_like(lengths_N).index_add(0, sequences_T[rows_L], torch.ones_like(rows_L))
    cu_seqlens = torch.nn.functional.pad((lengths_N + 2 * hidden_N).cumsum(0), (1, 0))

    sequences_L, indices_L = sequences_T[rows_L], indices_T[rows_L]
    first_T = cu_seqlens[sequences_T] + indices_T
    content_L = cu_seqlens[sequences_L] + indices_L + hidden_N[sequences_L]
    query_L = content_L + hidden_N[sequences_L]
    places_R = torch.cat([first_T, content_L, query_L])
    source_R = torch.cat([torch.arange(num_rows, device=rows_L.device), rows_L, rows_L])

    def laid(values_R: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(values_R).index_copy(0, places_R, values_R)

    kinds = [torch.full_like(rows, kind) for kind, rows in enumerate((first_T, content_L, query_L))]
    rows_R = torch.cat(kinds) * _STREAM_ROWS + view.sample_rows[source_R]
    streams = Batch(
        tokens=laid(torch.cat([view.tokens[:num_rows], labels_L.to(view.tokens.dtype), view.tokens[rows_L]])),
        positions=laid(view.positions[source_R]),
        cu_seqlens=cu_seqlens.to(view.cu_seqlens.dtype),
        sample_rows=laid(rows_R.to(view.sample_rows.dtype)),
        sample_positions=laid(view.sample_positions[source_R]),
    )
    lengths_T, shown_T = lengths_N[sequences_T], (lengths_N - hidden_N)[sequences_T]
    ranks, *intervals = map(laid, _intervals(indices_T, lengths_T, shown_T, rows_L))
    a_start, a_stop, b_start, b_stop = intervals
    return TwoStreams(streams, IntervalPattern(ranks, a_start, a_stop, b_start, b_stop), query_L, labels_L)


def _intervals(
    indices_T: torch.Tensor, lengths_T: torch.Tensor, shown_T: torch.Tensor, rows_L: torch.Tensor
) -> list[torch.Tensor]:
    """The table above as ranks and both intervals: shown and masks, then content, then queries, int32 [R] each."""
    index_L, length_L = indices_T[rows_L], lengths_T[rows_L]
    masked_T = (indices_T >= shown_T) * lengths_T
    stops = torch.cat([shown_T, index_L + 1, index_L])
    mask_starts = torch.cat([lengths_T + shown_T, length_L + index_L + 1, length_L + index_L])
    ends = 2 * torch.cat([lengths_T, length_L, length_L])
    ranks = torch.cat([indices_T + masked_T, index_L, 2 * length_L])
    return [values.to(torch.int32) for values in (ranks, torch.zeros_like(stops), stops, mask_starts, ends)]
