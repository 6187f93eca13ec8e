"""What the tests of corpora elsewhere (S3, Google's storage, the Hub) store there, and how they read it."""

from typing import Any

from data_prep.sources import InputFile, InputSplit, read
from data_prep.sources.config import SourceConfig
from data_prep.sources.kinds import ranges


def jsonl_lines(number: int) -> list[str]:
    """Lines of many lengths, `{"text": "line 17 xxx"}`."""
    return [f'{{"text": "line {line} {"x" * (line % 90)}"}}\n' for line in range(number)]


def config_of(*paths: str, **more: Any) -> SourceConfig:
    """The sources at these URLs."""
    return SourceConfig.model_validate({"paths": paths, **more})


def texts(file: InputFile, config: SourceConfig, split_bytes: int = 2**30) -> list[str]:
    """The texts of a file, read in splits of so many bytes."""
    splits = [InputSplit(file, *bounds) for bounds in ranges(file, config, split_bytes)]
    return [found.text for split in splits for found in read(split, config)]  # type: ignore[union-attr]
