"""The reserved token ids: never produced by text, whatever it contains.

Invariant: in a vocabulary trained here the ids are always `SpecialTokens()`: pad 0, eos 1, unk 2, bos 3, mask 4,
cls 5, sep 6, sentinels <extra_id_0> .. <extra_id_99> = 7 .. 106, spares <spare_0> .. <spare_63> = 107 .. 170. In a
vocabulary of a user's own they are where its pieces of these names are. Sentinels and spares are always contiguous and
ascending.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.errors import InputError

NUM_SENTINELS = 100
NUM_SPARES = 64

NAMED_PIECES = {
    "pad": "<pad>",
    "eos": "</s>",
    "unk": "<unk>",
    "bos": "<s>",
    "mask": "<mask>",
    "cls": "<cls>",
    "sep": "<sep>",
}
SENTINEL_PIECES = tuple(f"<extra_id_{i}>" for i in range(NUM_SENTINELS))
SPARE_PIECES = tuple(f"<spare_{i}>" for i in range(NUM_SPARES))
SPECIAL_PIECES = (*NAMED_PIECES.values(), *SENTINEL_PIECES, *SPARE_PIECES)


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the special tokens. `sentinels[i]` is <extra_id_i>, `spares[i]` is <spare_i>."""

    pad: int = 0
    eos: int = 1
    unk: int = 2
    bos: int = 3
    mask: int = 4
    cls: int = 5
    sep: int = 6
    first_sentinel: int = 7
    first_spare: int = 7 + NUM_SENTINELS

    @property
    def sentinels(self) -> range:
        """Ids of <extra_id_0>, <extra_id_1>, ..., ascending."""
        return range(self.first_sentinel, self.first_sentinel + NUM_SENTINELS)

    @property
    def spares(self) -> range:
        """Ids of <spare_0>, <spare_1>, ..., ascending: for mode tokens, size hints, languages."""
        return range(self.first_spare, self.first_spare + NUM_SPARES)

    @property
    def all(self) -> tuple[int, ...]:
        """Every special id, in the order of `SPECIAL_PIECES`."""
        named = (self.pad, self.eos, self.unk, self.bos, self.mask, self.cls, self.sep)
        return (*named, *self.sentinels, *self.spares)

    @classmethod
    def of_pieces(cls, pieces: Sequence[str]) -> "SpecialTokens":
        """The ids in a vocabulary that holds all `SPECIAL_PIECES`; InputError where one lacks or a block has gaps."""
        ids = {piece: index for index, piece in enumerate(pieces)}
        missing = [piece for piece in SPECIAL_PIECES if piece not in ids]
        if missing:
            raise InputError(f"the vocabulary lacks the special token {missing[0]} (and {len(missing) - 1} more)")
        special = cls(
            **{name: ids[piece] for name, piece in NAMED_PIECES.items()},
            first_sentinel=ids[SENTINEL_PIECES[0]],
            first_spare=ids[SPARE_PIECES[0]],
        )
        for piece, expected in zip(SPECIAL_PIECES, special.all, strict=True):
            if ids[piece] != expected:
                raise InputError(
                    f"the vocabulary has {piece} at id {ids[piece]}, expected {expected}: "
                    "sentinels and spares must have ascending ids without gaps"
                )
        return special
