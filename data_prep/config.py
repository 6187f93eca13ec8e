"""What a `data:` section may say. Every model here is frozen and strict: an unknown key is an error.

Values that a result depends on are all here; `workers` and `dir` say only how fast and where, and change no byte.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from data_prep.section import Positive, Section

Names = Annotated[tuple[str, ...], Field(strict=False)]

SourceKind = Literal["text", "jsonl", "code"]

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


class DataConfig(Section):
    """Which corpus, how it is read, and how it becomes token shards."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")  # null: from the first path
    paths: Names = ()  # files, folders, globs, or python:stdlib
    source: SourceKind | None = None  # null: by file extension
    text_field: str = Field(default="text", min_length=1)  # jsonl
    id_field: str | None = None  # jsonl; null: file name and byte offset
    document: Literal["file", "line", "paragraph"] = "file"  # text
    include: Names = ()  # only these files of a folder (globs on name or relative path); empty: every known extension
    exclude: Names = ()  # never these files of a folder
    bad_documents: Literal["skip", "error"] = "skip"
    max_documents: Positive | None = None
    heldout_fraction: Annotated[float, Field(ge=0.0, le=0.5)] = 0.02
    split_bytes: Annotated[int, Field(ge=2**12)] | None = None  # input per task; null: from the size of the corpus
    tokenizer: TokenizerConfig = TokenizerConfig()
    shards: ShardsConfig = ShardsConfig()
    workers: Positive | None = None  # null: one per core
    dir: str | None = None  # null: data/ in the run folder

    @model_validator(mode="before")
    @classmethod
    def _one_path_is_a_list_of_one(cls, values: Any) -> Any:
        if isinstance(values, dict):
            single = {
                key: (values[key],) for key in ("paths", "include", "exclude") if isinstance(values.get(key), str)
            }
            return {**values, **single}
        return values

    def content(self) -> dict[str, Any]:
        """Everything the dataset's bytes may depend on, as plain JSON values."""
        return self.model_dump(mode="json", exclude={"workers", "dir"})
