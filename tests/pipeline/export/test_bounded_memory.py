"""A model larger than the memory that is allowed is exported all the same, and compared with what it was made from."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.checkpoint.format import (
    FileEntry,
    Manifest,
    PlannedFile,
    Record,
    encode_manifest,
    folder_name,
    plan_files,
)
from pipeline.checkpoint.tensors import file_header
from pipeline.export.materialise import parameters_on_meta
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import build_model
from tests.pipeline.export.conftest import VOCAB, trained

LARGE = ModelConfig(d_model=1024, d_kv=64, d_ff=2048, num_layers=20, num_heads=16)
LIMIT_BYTES = 1_500_000_000
# A file that safetensors maps counts as a whole here, although its pages are the page cache's.
SHARD_BYTES = 100_000_000
# Freed tensors go back to the system: glibc's heap of its own accord keeps holes of a megabyte each, which count too.
ENVIRONMENT = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
ROOT = Path(__file__).parents[3]

EXPORT = """
import resource, sys
from pathlib import Path
import torch
from pipeline.checkpoint.weights import CheckpointWeights
from pipeline.export.huggingface import export_hf
from pipeline.export.verify import Original, verify_export
from pipeline.model.config import ModelConfig
from tests.pipeline.conftest import make_random_views

checkpoint, tokenizer, out, config, limit, size, shard_bytes = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))
weights, config = CheckpointWeights(checkpoint), ModelConfig.model_validate_json(config)
views = [make_random_views([9, 4], [5, 3], 1000, seed=1)]
original = Original(weights, config, Path(tokenizer), views, ["import os"], by_block=True)
found = {}

def check(folder):
    found.update(verify_export(folder, original)["logits"])

export_hf(weights, config, Path(tokenizer), Path(out), check=check, shard_bytes=int(shard_bytes))
assert found["sequences"] == 2 and found["max_abs_difference"] < 1e-9, found
try:
    torch.ones(int(size), dtype=torch.uint8)
except RuntimeError as error:
    print("exported and compared, and the limit holds")
else:
    sys.exit("the limit does not hold: a tensor as large as the model was made")
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="limits on private memory are Linux's")
def test_a_model_larger_than_the_memory_limit_is_exported_and_compared(tmp_path: Path) -> None:
    with parameters_on_meta():
        model = build_model(LARGE, VOCAB, seed=0)
    shapes = {f"model.{name}": tuple(parameter.shape) for name, parameter in model.named_parameters()}
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert size > 1.2 * LIMIT_BYTES
    checkpoint = write_large_checkpoint(tmp_path / "checkpoints", shapes)
    (tmp_path / "tokenizer").mkdir()
    trained("unigram", tmp_path / "tokenizer")
    sizes = (LIMIT_BYTES, size, SHARD_BYTES)
    arguments = (checkpoint, tmp_path / "tokenizer", tmp_path / "hf", LARGE.model_dump_json(), *sizes)
    command = [sys.executable, "-c", EXPORT, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "exported and compared, and the limit holds" in done.stdout
    written = [path.stat().st_size for path in (tmp_path / "hf").glob("model-*.safetensors")]
    assert sum(written) > size
    assert max(written) < 1.01 * SHARD_BYTES


def write_large_checkpoint(place: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A valid checkpoint of these parameters, written a tensor at a time."""
    folder = place / folder_name(1)
    folder.mkdir(parents=True)
    record = Record(
        step=1,
        position=1,
        tokens=1,
        config={},
        dataset_fingerprint="d" * 64,
        stream_fingerprint="e" * 64,
        tokenizer_digest="f" * 64,
        parameters={name: list(shape) for name, shape in shapes.items()},
        last_loss=None,
        heldout={},
        environment={},
    )
    (folder / "state.json").write_text(record.model_dump_json())
    (folder / "rng-00000.json").write_text("{}")
    for planned in plan_files(shapes):
        write_tensors(folder, planned, shapes)
    entries = {path.name: entry(path) for path in folder.iterdir()}
    manifest = Manifest(format_version=1, step=1, files=entries)
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return folder


def write_tensors(folder: Path, planned: PlannedFile, shapes: dict[str, tuple[int, ...]]) -> None:
    with open(folder / planned.file_name, "wb") as file:
        file.write(file_header((name, torch.float32, shapes[name]) for name in planned.names))
        for name in planned.names:
            generator = np.random.default_rng(len(name))
            values = generator.standard_normal(shapes[name], np.float32) / np.float32(np.sqrt(shapes[name][-1]))
            file.write((values if planned.kind == "master" else np.zeros_like(values)).data)


def entry(path: Path) -> FileEntry:
    with open(path, "rb") as file:
        return FileEntry(size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())
