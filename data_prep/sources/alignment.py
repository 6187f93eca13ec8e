"""Which files are one text in several languages: those whose names differ in the language only.

The language is the last part of the name, between `/` and `.`, that is one of `data.parallel.languages`: `de/x.html`,
`x.de.txt`, `x.de-en.de`. What is left, with `*` in its place, is the name of the text. Files without a language in
their name are no part of the corpus.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace

from data_prep.errors import InputError
from data_prep.sources.config import ParallelConfig
from data_prep.sources.document import InputFile
from data_prep.sources.kinds import TAR


def aligned(files: Sequence[InputFile], parallel: ParallelConfig) -> list[InputFile]:
    """One `parallel` file for each text, in the order of their first files; its members in the order of languages."""
    languages = {language.lower(): language for language in parallel.languages}
    texts: dict[str, dict[str, InputFile]] = {}
    for file in files:
        text, language = _text_and_language(file.name, languages)
        if language is not None:
            _check(file, parallel)
            members = texts.setdefault(text, {})
            if other := members.get(language):
                raise InputError(f"data.parallel: {file.path} and {other.path} are the same text in {language}")
            members[language] = file
    if not texts:
        names = " or ".join(f"/{language}/ or .{language}." for language in parallel.languages[:2])
        raise InputError(f"data.parallel: none of {len(files):,} files has a language in its name, such as {names}")
    return [_group(name, members, parallel) for name, members in texts.items()]


def _text_and_language(name: str, languages: dict[str, str]) -> tuple[str, str | None]:
    parts = re.split(r"([/.])", name)
    for place in range(len(parts) - 1, -1, -1):
        if language := languages.get(parts[place].lower()):
            return "".join([*parts[:place], "*", *parts[place + 1 :]]), language
    return name, None


def _check(file: InputFile, parallel: ParallelConfig) -> None:
    lines = parallel.align == "line"
    if file.source not in (("text",) if lines else ("text", "html", "code")) or file.path.lower().endswith(TAR):
        raise InputError(
            f"{file.path}: {file.source} files cannot be aligned by {parallel.align}; "
            "use data.parallel.align: field for records, data.source: text for lines"
        )


def _group(name: str, members: dict[str, InputFile], parallel: ParallelConfig) -> InputFile:
    ordered = [replace(members[language], lang=language) for language in parallel.languages if language in members]
    identity = [(file.lang, file.name, file.source, file.size, file.version) for file in ordered]
    version = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    return InputFile(
        ordered[0].path, name, "parallel", sum(file.size for file in ordered), version, members=tuple(ordered)
    )
