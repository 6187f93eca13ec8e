"""Ray carries descriptions of work and of results, never the corpus."""

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_prep.build import Build
from data_prep.calls import execute
from data_prep.config import DataConfig
from data_prep.progress import NoProgress
from data_prep.work import WorkFolder

INLINE_BYTES = 100 * 1024  # what is smaller, Ray hands over directly: it never lies in the object store
MARK = "Kein Wort hiervon gehört in Rays Speicher"


def sizes_through_ray(config: DataConfig, out: Path) -> list[int]:
    """Bytes of all arguments and results of a preparation's tasks, as Ray would send them; none holds its text."""
    sizes = []

    def run_tasks(function: Any, tasks: Sequence[Any], work: WorkFolder, on_done: Any) -> None:
        for task in tasks:
            record = execute(function, task, work.root)
            sent = [pickle.dumps((function, task, work.root)), pickle.dumps(record)]
            assert not any(MARK.encode() in data for data in sent)
            sizes.extend(map(len, sent))
            on_done(task, record)

    out.mkdir()
    Build(config, out, run_tasks, NoProgress()).run()
    return sizes


def test_tasks_and_results_are_small_however_large_the_corpus(
    small_config: Callable[..., DataConfig], tmp_path: Path
) -> None:
    stages = ["clean", "boilerplate", "dedup", {"kind": "select", "budget_tokens": 30_000}]
    columns = {"words": "unicode", "sents": "rules", "weight": "pmi"}
    largest = []
    for count in (150, 1500):
        path = tmp_path / f"{count}.jsonl"
        texts = [f"{number} " * 50 + f"{MARK} {number}. " * 20 for number in range(count)]
        path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
        config = small_config(path, stages=stages, columns=columns, split_bytes=path.stat().st_size // 10)
        sizes = sizes_through_ray(config, tmp_path / f"out-{count}")
        assert len(sizes) > 2 * 4 * 10
        largest.append(max(sizes))
    assert largest[1] < INLINE_BYTES < path.stat().st_size // 10
    assert largest[1] < 1.1 * largest[0]
