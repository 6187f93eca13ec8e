"""What masking needs to know besides the text: made once, the same for every micro-batch."""

from dataclasses import dataclass

from data_prep.tokenizer.special import SpecialTokens
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.layout import DECODER, ENCODER, FullReconstruction
from pipeline.corruption.philox import Key
from pipeline.corruption.reorder import SENTENCES
from pipeline.corruption.sampling import Int64Array
from pipeline.corruption.select import Budget
from pipeline.corruption.similar import SimilarTable


@dataclass(frozen=True, eq=False)
class MaskingPlan:
    """A corruption, its tables and its random stream."""

    config: CorruptionConfig
    special: SpecialTokens
    ordinary: Int64Array  # [V], the ids that are not special
    similar: SimilarTable  # [V, m], or [V, 0]
    budget: Budget  # by the piece's length, 0..window
    max_rows: dict[str, int]  # of a sample, by view
    max_pieces: int  # of a sample
    key: Key

    @property
    def reorders(self) -> bool:
        """Whether the sentences of the text are put into another order first."""
        return isinstance(self.config.layout, FullReconstruction) and self.config.layout.reorder

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the text that are read."""
        wanted = [column.name for column in self.config.select.columns]
        return tuple(dict.fromkeys([*wanted, SENTENCES] if self.reorders else wanted))

    @property
    def labelled_view(self) -> str:
        """The view that has labels: the decoder's, or the encoder's where it is the only one."""
        return DECODER if DECODER in self.max_rows else ENCODER
