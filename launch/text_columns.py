"""The columns of a text that is in no dataset, as preparation would make them: for `spanwright inspect --text`.

Words, sentences and spans come from the same annotators. Importance needs a corpus: what a token weighs is read off the
prepared dataset, from its first MOST_TOKENS tokens.
"""

from collections.abc import Iterable

import numpy as np

from data_prep.columns.annotate import columns_of
from data_prep.columns.config import ColumnsConfig, WeightConfig
from data_prep.columns.spans import KINDS
from data_prep.finish.pairs import pair_keys
from data_prep.finish.weight import ngram_starts, pmi_weights
from data_prep.shards.reader import MappedChunk, Split
from data_prep.sources.document import Document
from data_prep.tokenizer import Tokenizer
from pipeline.token_columns import SPANS, WantedColumn, span_marks
from pipeline.training.assembly import Data

MOST_TOKENS = 20_000_000
SOURCE = "text.py"  # spans of code follow the language of a file's name
_HIGHEST = 255


def columns_of_text(
    text: str, token_ids: np.ndarray, wanted: Iterable[WantedColumn], data: Data
) -> dict[str, np.ndarray]:
    """The `wanted` columns of `text`, uint8 [tokens] each, by the rules that the dataset was made by."""
    rules = ColumnsConfig.model_validate(data.dataset.manifest.config["columns"])
    document = Document(id="text", text=text, source=SOURCE)
    made = columns_of(document, token_ids, data.tokenizer, rules)
    if rules.weight is not None:
        made |= _weights(rules.weight, token_ids, data.dataset.split("train"), data.tokenizer)
    return {column.name: _as_read(column, made[column.name], len(token_ids)) for column in wanted}


def _as_read(column: WantedColumn, values: np.ndarray, num_tokens: int) -> np.ndarray:
    if column.name != SPANS:
        return values
    return span_marks(values, num_tokens, [KINDS.index(kind) for kind in column.kinds or KINDS])


def _weights(rules: WeightConfig, token_ids: np.ndarray, split: Split, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    if rules.kind == "idf":
        table = np.full(tokenizer.vocab_size, _HIGHEST, np.uint8)  # a token that was not seen is a rare one
        for chunk in _chunks(split):
            table[chunk.tokens] = chunk.column("weight")
        return {"weight": table[token_ids]}
    counts, correlated = np.zeros(tokenizer.vocab_size, np.int64), [np.zeros(0, np.uint64)]
    for chunk in _chunks(split):
        tokens = np.asarray(chunk.tokens, np.int64)
        counts += np.bincount(tokens, minlength=len(counts))
        correlated.append(np.unique(pair_keys(tokens)[chunk.column("ngrams")[1:] == 0]))
    keys = np.unique(np.concatenate(correlated))
    return {"weight": pmi_weights(token_ids, counts), "ngrams": ngram_starts(token_ids, keys, rules.max_ngram)}


def _chunks(split: Split) -> Iterable[MappedChunk]:
    seen = 0
    for number in range(split.num_chunks):
        chunk = split.chunk(number)
        yield chunk
        seen += len(chunk.tokens)
        if seen >= MOST_TOKENS:
            return
