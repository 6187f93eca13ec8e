"""The memory of a task does not grow with its corpus: 20 times what the task may take passes through it.

What it takes is constant: a few MiB for chunks and buffers, and for the words of the corpus in the encoder's cache, of
which this one has few (at most 32 MiB: CACHE_BITS in encoder.py).
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Reads, tokenizes and finishes one unit in a process that may take so many bytes more than it has when it is warm.
# RLIMIT_DATA counts what a process writes to (heap, stacks); files mapped for reading are the page cache's.
RUN = """
import resource, sys
from pathlib import Path
from data_prep.build import Build
from data_prep.config import DataConfig
from data_prep.calls import execute
from data_prep.progress import NoProgress

corpus, warm, out, limit = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])

def data_bytes():
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmData")]
    return int(line.split()[1]) * 1024

def run_tasks(function, tasks, work, on_done):
    for task in tasks:
        on_done(task, execute(function, task, work.root))

def build(path, out, **more):
    columns, shards = {"weight": "idf", "words": "whitespace"}, {"chunk_tokens": 2**18}
    config = {"paths": [str(path)], "split_bytes": 2**30, "columns": columns, "shards": shards, **more}
    Build(DataConfig.model_validate(config), out, run_tasks, NoProgress()).run()

out.mkdir()
small = {"tokenizer": {"vocab_size": 600, "sample_bytes": 65536}}
build(warm, out / "warm", **small)
model = out / "warm" / "tokenizer" / "spiece.model"
build(warm, out / "warm_again", tokenizer={"path": str(model)})
before = data_bytes()
resource.setrlimit(resource.RLIMIT_DATA, (before + limit, before + limit))
build(corpus, out / "large", tokenizer={"path": str(model)})
try:
    bytearray(before + limit)
except MemoryError:
    print("limited")
"""


def prepare_within(limit: int, times: int, folder: Path) -> None:
    corpus, warm = folder / "corpus.jsonl", folder / "warm.jsonl"
    lines = [json.dumps({"text": f"document {n} of a corpus that is larger than memory. " * 80}) for n in range(100)]
    warm.write_text("\n".join(lines) + "\n")
    with open(corpus, "w") as file:
        while file.tell() < times * limit:
            file.write(warm.read_text())
    command = [sys.executable, "-c", RUN, str(corpus), str(warm), str(folder / "out"), str(limit)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "limited\n"


def test_a_corpus_3_times_larger_than_24_mib_passes(tmp_path: Path) -> None:
    prepare_within(24 * 2**20, 3, tmp_path)


@pytest.mark.long
def test_a_corpus_20_times_larger_than_24_mib_passes(tmp_path: Path) -> None:
    prepare_within(24 * 2**20, 20, tmp_path)
