"""Replace: what stands in the corrupted text where a span was. The result is a list of tokens for each span.

Nothing (dropped), one token (a sentinel, one mask), two (a size hint) or as many as were selected (masks, random
tokens): so every layout combines with every replace. A new rule is one more class here, with a `kind`, `budget` and
`fill`.

Shape suffixes: S spans of all pieces, F tokens filled in, W = window + 1 table entries (one per piece length).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from data_prep.errors import InputError
from data_prep.section import Section
from data_prep.tokenizer.special import SpecialTokens
from pipeline.corruption.sampling import Int64Array, indices_within
from pipeline.corruption.select import Budget, Selection


@dataclass(frozen=True)
class Replacement:
    """Span s is replaced by tokens[offsets[s]:offsets[s + 1]]."""

    tokens: Int64Array  # [F]
    offsets: Int64Array  # [S + 1]


class SentinelPerSpan(Section):
    """The spans of a piece become <extra_id_0>, <extra_id_1>, ... in their order in the text, from 0 in every piece."""

    kind: Literal["sentinel_per_span"] = "sentinel_per_span"

    def budget(self, selected: Budget) -> Int64Array:
        """The most tokens filled in, by the piece's length: one per span, [W] int64."""
        return selected.most_spans

    def check(self, selected: Budget, num_sentinels: int) -> None:
        """Refuse a selection with more spans in one piece than there are sentinels."""
        too_long = np.flatnonzero(selected.most_spans > num_sentinels)
        if len(too_long):
            raise InputError(
                f"corruption.select: a piece of {len(selected.most_spans) - 1} tokens (stream.window) can have "
                f"{selected.most_spans.max()} spans, but the tokenizer has {num_sentinels} sentinels. Use a "
                f"stream.window of at most {too_long[0] - 1}, a longer mean_span_length or a lower noise_density."
            )

    def fill(self, selection: Selection, special: SpecialTokens) -> Replacement:
        """One sentinel for each span."""
        sentinels = np.array(special.sentinels, np.int64)
        num_spans = len(selection.starts)
        return Replacement(sentinels[indices_within(selection.offsets)], np.arange(num_spans + 1))
