"""Find documents that share runs of words with evaluation files, and drop or mark them.

Words are compared in lower case and without punctuation (see `rules.evaluation`); 13 words as for GPT-3 (Brown et al.
2020, appendix C). An evaluation text of fewer words than `ngram` can match nothing.

1. `inputs` names the files; the step reads them once, before the first document.
2. A document that shares at least `min_hits` runs is dropped, or passed on with what it shares in its `meta`.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

from pydantic import Field

from data_prep.section import Positive, Section
from data_prep.sources.document import Document
from data_prep.stages.rules.evaluation import EvaluationTexts, Shared, find_files
from data_prep.stages.stage import Dropped, Step

VERSION = 1
META = "contaminated"  # the key in a document's meta if it is only marked


class Config(Section):
    """Which files to protect."""

    kind: Literal["decontaminate"] = "decontaminate"
    paths: tuple[str, ...] = Field(min_length=1)  # files and globs; .jsonl, others are plain text
    ngram: Positive = 13
    min_hits: Positive = 1
    action: Literal["drop", "report"] = "drop"


def inputs(config: Config) -> list[str]:
    """The evaluation files, sorted."""
    return find_files(config.paths)


def step(config: Config) -> Step:
    """Documents in their order; those that share too much are dropped or marked."""
    return functools.partial(_compare_documents, config)


def _compare_documents(config: Config, documents: Iterable[Document]) -> Iterator[Document | Dropped]:
    texts = EvaluationTexts(inputs(config), config.ngram)
    for document in documents:
        shared = texts.find(document.text)
        if not shared or shared.hits < config.min_hits:
            yield document
        elif config.action == "drop":
            yield Dropped(document, META, _describe(shared))
        else:
            yield replace(document, meta={**document.meta, META: _describe(shared)})


def _describe(shared: Shared) -> str:
    return f'{shared.file}: "{shared.words}" ({shared.hits} in all)'
