"""What a column of a dataset is, and which arrays of a chunk hold it.

A column is one array, `NAME.npy`; a column of spans, of which a document has any number, is two: `NAME.npy` and
`NAME_docs.npy`, which says where each document's spans begin.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

# What to add to a config for a dataset with the column.
SETTINGS = {
    "words": "data.columns.words=unicode",
    "sents": "data.columns.sents=rules",
    "lang": "data.columns.lang=true",
    "pair": "data.columns.pair=true",
    "spans": "data.columns.spans=code",
    "weight": "data.columns.weight=idf",
    "ngrams": "data.columns.weight=pmi",
}


class Record(BaseModel):
    """Base of what a manifest or an index says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Column(Record):
    """An optional column: one number of `dtype` for each token or document, or any number of spans per document.

    A span is (start, stop, kind): tokens start .. stop of its document, and a place in the list `kinds`.
    """

    dtype: Literal["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32"]
    per: Literal["token", "document", "span"]
    kinds: list[str] | None = None  # what the kinds of spans are called

    @model_validator(mode="after")
    def _spans_have_kinds(self) -> "Column":
        if (self.per == "span") != bool(self.kinds) or (self.per == "span" and self.dtype != "int32"):
            raise ValueError("a column of spans, and no other, is int32 and names its kinds")
        return self

    @model_serializer(mode="wrap")
    def _without_what_it_has_not(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value is not None}


def offsets_name(column: str) -> str:
    """The array beside a column of spans that says where each document's spans begin."""
    return f"{column}_docs"


def stored_names(columns: Mapping[str, Column]) -> list[str]:
    """The arrays that hold these columns: one each, and for spans their offsets."""
    return [*columns, *(offsets_name(name) for name, column in columns.items() if column.per == "span")]
