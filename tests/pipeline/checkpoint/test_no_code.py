"""Loading a checkpoint runs no code. The attacker knows the format: every digest in these manifests is right."""

import hashlib
import io
import itertools
import json
import os
import pickle
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.errors import CorruptionError, InputError, SpanwrightError
from pipeline.checkpoint.places import open_store
from pipeline.checkpoint.resume import agree_on_checkpoint, restore_rank_generators, restore_state
from pipeline.checkpoint.weights import load_weights
from pipeline.config import load_run

from .conftest import RANK, KeptState, rewrite_manifest

Payload = Callable[[Path], bytes]


class Executed:
    """Unpickling this creates the marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def plain_pickle(marker: Path) -> bytes:
    return pickle.dumps(Executed(marker))


def old_pickle(marker: Path) -> bytes:
    return pickle.dumps(Executed(marker), protocol=0)


def torch_archive(marker: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"model.norm.weight": Executed(marker)}, file)
    return file.getvalue()


def object_array(marker: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Executed(marker)], dtype=object), allow_pickle=True)
    return file.getvalue()


def archive_with_pickle(marker: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", plain_pickle(marker))
    return file.getvalue()


def yaml_tag(marker: Path) -> bytes:
    return f"!!python/object/apply:os.mkdir ['{marker}']\n".encode()


def yaml_new(marker: Path) -> bytes:
    return f"!!python/object/new:os.mkdir ['{marker}']\n".encode()


def yaml_bomb(marker: Path) -> bytes:
    """Nine levels of ten references: ten to the ninth strings, if they were ever written out."""
    names = "abcdefghij"
    lines = [f"a: &a [{', '.join(['lol'] * 10)}]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in itertools.pairwise(names)]
    return "\n".join(lines).encode()


def python_code(marker: Path) -> bytes:
    return f"__import__('os').mkdir({str(marker)!r})\n".encode()


def deep_json(marker: Path) -> bytes:
    return b"[" * 50_000 + b"]" * 50_000


def huge_number(marker: Path) -> bytes:
    return b'{"step": ' + b"9" * 100_000 + b"}"


def header_longer_than_the_file(marker: Path) -> bytes:
    return (2**63 - 1).to_bytes(8, "little") + b"{}"


def tensor_of_exabytes(marker: Path) -> bytes:
    end = 2**60
    header = {"model.norm.weight": {"dtype": "F32", "shape": [end // 4], "data_offsets": [0, end]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


PAYLOADS: tuple[Payload, ...] = (
    plain_pickle, old_pickle, torch_archive, object_array, archive_with_pickle, yaml_tag, python_code, deep_json,
    huge_number, header_longer_than_the_file, tensor_of_exabytes,
)  # fmt: skip
FILES = ("master-00000.safetensors", "exp_avg-00000.safetensors", "buffers-00000.safetensors", "rng-00000.json",
         "state.json")  # fmt: skip


def put(folder: Path, name: str, data: bytes) -> None:
    """Replace a file, and give the manifest the digests that fit."""
    (folder / name).write_bytes(data)
    entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rewrite_manifest(folder, lambda content: content["files"].update({name: entry}))


def load_everything(folder: Path) -> None:
    """All that a resumed run reads of a checkpoint."""
    found = agree_on_checkpoint(open_store(folder.parent), RANK, lambda text: None)
    assert found is not None
    state: Any = KeptState()
    restore_state(*found, state)
    restore_rank_generators(found[0], RANK)
    load_weights(found[0])


def test_the_honest_checkpoint_with_a_rewritten_manifest_is_loaded(save: Callable[..., Path]) -> None:
    folder = save(5)
    put(folder, "rng-00000.json", (folder / "rng-00000.json").read_bytes())
    load_everything(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_with_right_digests_is_refused_and_never_runs(
    save: Callable[..., Path], tmp_path: Path, name: str, payload: Payload
) -> None:
    folder, marker = save(5), tmp_path / "marker"
    put(folder, name, payload(marker))
    started = time.process_time()
    with pytest.raises(CorruptionError, match=name):
        load_everything(folder)
    assert not marker.exists()
    assert time.process_time() - started < 5.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20, "kilobytes"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_as_the_manifest_is_refused_and_never_runs(
    save: Callable[..., Path], tmp_path: Path, payload: Payload
) -> None:
    folder, marker = save(5), tmp_path / "marker"
    (folder / "manifest.json").write_bytes(payload(marker))
    with pytest.raises(CorruptionError, match=r"manifest\.json: not a checkpoint manifest"):
        load_everything(folder)
    assert not marker.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"torch": "00"}, {"torch": "zz"}, {"numpy": []}, {"numpy": {"keys": [-1], "position": 0}}, {"python": None},
        {"python": {"version": 3, "internal": [10**30] * 625, "next_gauss": None}},
        {"python": {"version": 9, "internal": [], "next_gauss": None}},
    ],
)  # fmt: skip
def test_generators_that_are_none_are_refused(save: Callable[..., Path], change: dict[str, Any]) -> None:
    folder = save(5)
    state = json.loads((folder / "rng-00000.json").read_bytes())
    put(folder, "rng-00000.json", json.dumps({**state, **change}).encode())
    with pytest.raises(CorruptionError, match=r"rng-00000\.json: holds no generators' states"):
        load_everything(folder)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "a/b.json", "a/../../b.json", "x.pt", "..", "."])
def test_a_name_that_leads_elsewhere_is_refused(save: Callable[..., Path], name: str) -> None:
    folder = save(5)
    entry = {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    rewrite_manifest(folder, lambda content: content["files"].update({name: entry}))
    with pytest.raises(CorruptionError, match="lists a file named"):
        load_everything(folder)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_links_devices_and_pipes_are_not_followed(save: Callable[..., Path], tmp_path: Path, name: str) -> None:
    folder = save(5)
    (folder / name).rename(tmp_path / "real")
    for make in (
        lambda path: path.symlink_to(tmp_path / "real"),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: os.mkfifo(path),
    ):
        make(folder / name)
        with pytest.raises(SpanwrightError, match=name):
            load_everything(folder)
        (folder.parent / "damaged-step-00000005").exists()
        (folder / name).unlink()


def test_a_checkpoint_folder_that_is_a_link_is_not_a_checkpoint(save: Callable[..., Path], tmp_path: Path) -> None:
    folder = save(5)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert agree_on_checkpoint(open_store(folder.parent), RANK, lambda text: None) is None


@pytest.mark.parametrize("payload", [*PAYLOADS, yaml_new, yaml_bomb])
def test_a_payload_as_the_runs_config_is_refused_and_never_runs(tmp_path: Path, payload: Payload) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "config.yaml").write_bytes(payload(marker))
    started = time.process_time()
    with pytest.raises(InputError):
        load_run(tmp_path)
    assert not marker.exists()
    assert time.process_time() - started < 5.0


@pytest.mark.parametrize("payload", [plain_pickle, old_pickle, yaml_tag, python_code])
def test_the_payloads_would_have_run(tmp_path: Path, payload: Payload) -> None:
    """The tests above can fail."""
    runners = {
        "plain_pickle": "import pickle; pickle.loads(data)", "old_pickle": "import pickle; pickle.loads(data)",
        "yaml_tag": "import yaml; yaml.unsafe_load(data)", "python_code": "exec(data)",
    }  # fmt: skip
    code = f"import sys; data = sys.stdin.buffer.read(); {runners[payload.__name__]}"
    done = subprocess.run([sys.executable, "-c", code], input=payload(tmp_path / "marker"), check=False)
    assert done.returncode == 0
    assert (tmp_path / "marker").exists()
