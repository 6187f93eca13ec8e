"""Put the sentences of every piece into a drawn order (Lewis et al. 2020, BART, section 2.2, "sentence permutation").

It comes before everything else: spans are selected in the reordered text, and only targets keep the original one.
"""

import dataclasses

from pipeline.corruption.philox import Key
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.sampling import Purpose, indices_within, offsets_of, order_by_key
from pipeline.corruption.select_units import marked_units

SENTENCES = "sents"


def reordered(pieces: Pieces, key: Key) -> Pieces:
    """The same pieces with their sentences by (bits of the first token, index); columns go with their tokens."""
    units = marked_units(pieces, SENTENCES)
    order = order_by_key(pieces.bits(key, Purpose.ORDER)[units.starts], units.offsets)
    lengths = (units.stops - units.starts)[order]
    offsets = offsets_of(lengths)
    source = units.starts[order].repeat(lengths) + indices_within(offsets)
    columns = {name: values[source] for name, values in pieces.columns.items()}
    return dataclasses.replace(pieces, tokens=pieces.tokens[source], columns=columns, original=pieces.tokens)
