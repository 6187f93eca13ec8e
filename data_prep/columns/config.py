"""What `data.columns` may say: annotations stored beside the tokens. Each is off unless asked for."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from data_prep.section import Positive, Section


class WeightConfig(Section):
    """How important each token is.

    `idf`: by how few documents it occurs in. `pmi`: by how much its document favours it; correlated tokens become
    n-grams, which the other settings are about.
    """

    kind: Literal["idf", "pmi"]
    max_ngram: Annotated[int, Field(ge=2, le=16)] = 5  # tokens in an n-gram at most
    min_count: Positive = 10  # a pair of tokens that occurs less often is never correlated
    max_pairs: Positive = 800_000  # this many pairs of the highest PMI count as correlated

    @model_validator(mode="after")
    def _settings_count(self) -> "WeightConfig":
        fields = type(self).model_fields.items()
        idle = [name for name, info in fields if name != "kind" and getattr(self, name) != info.default]
        if self.kind == "idf" and idle:
            raise ValueError(f"{min(idle)} is about kind: pmi, and this is kind: idf")
        return self


class ColumnsConfig(Section):
    """The columns a dataset gets."""

    words: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] | None = None  # unicode, whitespace, or a plugin
    sents: Literal["rules", "unicode"] | None = None
    lang: bool = False
    pair: bool = False
    spans: Literal["code", "python", "html"] | None = None  # code: the language follows from the file's extension
    weight: WeightConfig | None = None

    @field_validator("weight", mode="before")
    @classmethod
    def _a_word_is_a_kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value
