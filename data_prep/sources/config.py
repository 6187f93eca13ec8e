"""The part of a `data:` section that says what the corpus is and how it is read; `data_prep.config` adds the rest."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from data_prep.section import Section

Names = Annotated[tuple[str, ...], Field(strict=False)]

SourceKind = Literal["text", "jsonl", "parquet", "dataset", "html", "warc", "code"]

# What decides which documents a file yields; the other fields say which files there are.
READING = (
    *("text_field", "id_field", "lang_field", "document", "html_text", "html_content"),
    *("parallel", "max_document_bytes", "bad_documents"),
)


class ParallelConfig(Section):
    """Aligned texts in several languages. Aligned documents share their `pair`.

    `document`: files that differ in the language of their name only (`de/x.html` and `en/x.html`, `x.de.txt` and
    `x.en.txt`) are one text; `line`: their lines are; `field`: a record (jsonl, parquet, dataset) holds all languages.
    """

    languages: Annotated[tuple[str, ...], Field(strict=False, min_length=2)]
    align: Literal["document", "line", "field"] = "document"
    fields: dict[str, str] = Field(default_factory=dict)  # align: field; the field of a language, else its code

    @model_validator(mode="after")
    def _fields_are_of_the_languages(self) -> "ParallelConfig":
        if len({name.lower() for name in self.languages}) < len(self.languages):
            raise ValueError(f"a language is named twice: {', '.join(self.languages)}")
        if strangers := sorted(self.fields.keys() - set(self.languages)):
            raise ValueError(f"fields names {', '.join(strangers)}, which languages does not")
        if self.fields and self.align != "field":
            raise ValueError(f"fields are for align: field, not {self.align}")
        return self

    def field_of(self, language: str) -> str:
        """The record field that holds the text in `language`."""
        return self.fields.get(language, language)


class SourceConfig(Section):
    """Which corpus, and how it is read."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")  # null: from the first path
    paths: Names = ()  # files, folders, globs (local, s3://, gs://, hf://), or python:stdlib
    source: SourceKind | None = None  # null: by file extension
    text_field: str = Field(default="text", min_length=1)  # jsonl, parquet, dataset; `a.b` is field b of a
    id_field: str | None = None  # jsonl, parquet, dataset; null: file name and place in it
    lang_field: str | None = None  # jsonl, parquet, dataset: where the language (ISO 639) stands
    document: Literal["file", "line", "paragraph"] = "file"  # text
    html_text: Literal["plain", "simplified"] = "plain"  # html, warc; simplified keeps headings, lists, paragraphs, ...
    html_content: Literal["main", "all"] = "main"  # html, warc; main leaves out menus, headers and footers
    parallel: ParallelConfig | None = None
    include: Names = ()  # only these files of a folder (globs on name or relative path); empty: every known extension
    exclude: Names = ()  # never these files of a folder
    max_document_bytes: Annotated[int, Field(ge=2**10, le=2**30)] = 64 * 2**20  # a longer one is left out and counted
    bad_documents: Literal["skip", "error"] = "skip"

    @model_validator(mode="before")
    @classmethod
    def _one_path_is_a_list_of_one(cls, values: Any) -> Any:
        if isinstance(values, dict):
            single = {
                key: (values[key],) for key in ("paths", "include", "exclude") if isinstance(values.get(key), str)
            }
            return {**values, **single}
        return values

    @field_validator("paths")
    @classmethod
    def _no_secrets_in_paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            scheme, marker, rest = path.partition("://")
            if marker and "@" in rest.partition("/")[0]:
                raise ValueError(f"{scheme}://...: leave the key out of the URL and set it in the environment")
        return paths

    def reading(self) -> dict[str, Any]:
        """The options that decide which documents a file yields, as plain JSON values."""
        return self.model_dump(mode="json", include=set(READING))
