"""Corpora in Google's storage, read by gcsfs from a real server process (an emulator)."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from socket import create_server
from typing import Any

import pytest

from data_prep.errors import InputError
from data_prep.sources import InputSplit, read
from data_prep.sources.inputs import find_inputs
from data_prep.sources.kinds import ranges
from tests.remote_corpus import config_of, jsonl_lines, texts

LINES = jsonl_lines(2000)
gcsfs = pytest.importorskip("gcsfs")


@pytest.fixture(scope="module")
def store() -> Iterator[Any]:
    """A bucket `corpus` with a few files on a server that lives as long as these tests."""
    with closing(create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    code = (
        "import sys, threading; from gcp_storage_emulator.server import create_server; "
        "create_server('127.0.0.1', int(sys.argv[1]), in_memory=True, default_bucket='corpus').start(); "
        "threading.Event().wait()"
    )
    server = subprocess.Popen([sys.executable, "-c", code, str(port)])
    url = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        try:
            wait_until_it_answers(f"{url}/storage/v1/b/corpus")
            gcsfs.GCSFileSystem.clear_instance_cache()
            store = gcsfs.GCSFileSystem(use_listings_cache=False)
            store.pipe("corpus/a/big.jsonl", "".join(LINES).encode())
            store.pipe("corpus/a/b/small.txt", "größer".encode())
            yield store
        finally:
            server.kill()
            server.wait()
            gcsfs.GCSFileSystem.clear_instance_cache()


def wait_until_it_answers(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=10).read()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer; proxies: {os.environ.get('http_proxy')}")


def test_folders_globs_and_byte_ranges_are_read_by_url(store: Any) -> None:
    folder = [("b/small.txt", "text"), ("big.jsonl", "jsonl")]
    assert [(file.name, file.source) for file in find_inputs(config_of("gs://corpus/a"))] == folder
    [big] = find_inputs(config_of("gs://corpus/a/*.jsonl"))
    assert len(ranges(big, config_of("gs://corpus/a/*.jsonl"), 10_000)) > 1
    assert texts(big, config_of("gs://corpus/a/*.jsonl"), 10_000) == [line[10:-3] for line in LINES]


def test_a_file_that_changed_and_one_that_is_not_there_are_named(store: Any) -> None:
    store.pipe("corpus/c/changing.txt", b"before")
    [file] = find_inputs(config_of("gs://corpus/c"))
    store.pipe("corpus/c/changing.txt", b"after!")
    with pytest.raises(InputError, match=r"^gs://corpus/c/changing\.txt: changed while the data was being prepared"):
        list(read(InputSplit(file, 0, file.size), config_of("gs://corpus/c")))
    with pytest.raises(InputError, match=r"gs://corpus/none\.txt: no such file"):
        find_inputs(config_of("gs://corpus/none.txt"))
