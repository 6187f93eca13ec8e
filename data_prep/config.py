"""What a `data:` section may say. Every model here is frozen and strict: an unknown key is an error.

Values that a result depends on are all here; `workers` and `dir` say only how fast and where, and change no byte.
"""

import difflib
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, field_validator

from data_prep.columns.config import ColumnsConfig
from data_prep.finish import LISTED_FINISHES, finish_module
from data_prep.section import Positive, Section
from data_prep.sources.config import SourceConfig
from data_prep.stages import STAGES, stage_module

# 7 named special tokens, 100 sentinels, 64 spares and 256 byte pieces are in every vocabulary.
SMALLEST_VOCAB = 512


class TokenizerConfig(Section):
    """How text becomes token ids: a SentencePiece model trained on the corpus, or your own."""

    kind: Literal["unigram", "bpe", "char", "byte"] = "unigram"
    vocab_size: int = Field(default=32128, ge=SMALLEST_VOCAB, le=2**24)
    sample_bytes: int = Field(default=64 * 2**20, ge=2**16)  # how much of the training documents it is trained on
    path: str | None = None  # a SentencePiece .model of your own: nothing is trained, kind and vocab_size do not count


class ShardsConfig(Section):
    """How tokens are laid out on disk."""

    chunk_tokens: int = Field(default=2**19, ge=2**10, le=2**26)  # 1 MiB of two-byte tokens
    window_sizes: Annotated[tuple[Positive, ...], Field(strict=False)] = (568,)  # windows counted ahead of training


def _stage(value: Any) -> Section:
    """The config of one entry of `data.stages`, by its kind; a bare word is a kind with its defaults."""
    if isinstance(value, Section):
        return value
    values = {"kind": value} if isinstance(value, str) else value
    kind = values.get("kind") if isinstance(values, dict) else None
    known = (*STAGES, *LISTED_FINISHES)
    if kind not in known:
        near = difflib.get_close_matches(str(kind), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no stage of kind {kind!r}{hint} (there are {', '.join(known)})")
    module = stage_module(kind) if kind in STAGES else finish_module(kind)
    return module.Config.model_validate(values)


StageConfig = Annotated[Any, PlainValidator(_stage), PlainSerializer(lambda section: section.model_dump(mode="json"))]


class DataConfig(SourceConfig):
    """Which corpus, how it is read, and how it becomes token shards."""

    max_errors: Annotated[int, Field(ge=0)] | None = None  # bad documents a file may have when they are skipped
    quarantine_dropped: bool = False  # write what stages drop to quarantine.jsonl too, not only bad documents
    stages: Annotated[tuple[StageConfig, ...], Field(strict=False)] = ()  # in order; a word is {kind: word}
    columns: ColumnsConfig = ColumnsConfig()
    max_documents: Positive | None = None  # the first so many of those that the stages leave
    heldout_fraction: Annotated[float, Field(ge=0.0, le=0.5)] = 0.02
    split_bytes: Annotated[int, Field(ge=2**12)] | None = None  # input per task; null: from the size of the corpus
    tokenizer: TokenizerConfig = TokenizerConfig()
    shards: ShardsConfig = ShardsConfig()
    workers: Positive | None = None  # null: one per core
    dir: str | None = None  # null: data/ in the run folder

    @field_validator("stages", mode="before")
    @classmethod
    def _one_stage_is_a_list_of_one(cls, stages: Any) -> Any:
        return (stages,) if isinstance(stages, str) else stages

    @field_validator("stages")
    @classmethod
    def _finish_comes_last(cls, stages: tuple[Any, ...]) -> tuple[Any, ...]:
        for stage in stages[:-1]:
            if stage.kind in LISTED_FINISHES:
                raise ValueError(f"{stage.kind} must be the last entry: it works on what all stages leave")
        return stages

    def content(self) -> dict[str, Any]:
        """Everything the dataset's bytes may depend on, as plain JSON values."""
        return self.model_dump(mode="json", exclude={"workers", "dir"})
