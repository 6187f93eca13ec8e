"""Corpora in S3, against a real server process."""

import multiprocessing
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import s3fs

from data_prep.errors import InputError, SpanwrightError
from data_prep.sources import InputFile, InputSplit, read
from data_prep.sources.config import SourceConfig
from data_prep.sources.inputs import find_inputs
from data_prep.sources.kinds import ranges
from tests import s3_server
from tests.remote_corpus import config_of, jsonl_lines, texts
from tests.s3_server import SECRET

LINES = jsonl_lines(4000)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The URL of a server that lives as long as these tests."""
    with s3_server.running() as url:
        yield url


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket `corpus` with a few files, and the environment of one who may read it."""
    s3_server.reset(endpoint)
    for name, value in s3_server.environment(endpoint).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem(use_listings_cache=False)
    store.mkdir("corpus")
    store.pipe("corpus/a/big.jsonl", "".join(LINES).encode())
    store.pipe("corpus/a/b/small.txt", "größer".encode())
    store.pipe("corpus/a/.hidden.txt", b"no")
    store.pipe("corpus/a/logo.png", b"no")
    yield store
    s3fs.S3FileSystem.clear_instance_cache()


def test_folders_globs_and_files_are_found_by_url(store: Any) -> None:
    folder = [("b/small.txt", "text"), ("big.jsonl", "jsonl")]
    for url in ("s3://corpus/a", "s3://corpus/a/"):
        assert [(file.name, file.source) for file in find_inputs(config_of(url))] == folder
    assert [file.name for file in find_inputs(config_of("s3://corpus/a/**/*.txt"))] == ["b/small.txt"]
    [file] = find_inputs(config_of("s3://corpus/a/big.jsonl", "s3://corpus/a/*.jsonl"))
    assert (file.path, file.name, file.size) == ("s3://corpus/a/big.jsonl", "big.jsonl", len("".join(LINES)))
    assert file.version == store.info("corpus/a/big.jsonl")["ETag"].strip('"')


def test_a_large_file_is_read_by_byte_ranges(store: Any) -> None:
    config = config_of("s3://corpus/a/big.jsonl")
    [file] = find_inputs(config)
    assert len(ranges(file, config, 30_000)) > 5
    assert texts(file, config, 30_000) == texts(file, config) == [line[10:-3] for line in LINES]


def _in_process(file: InputFile, config: SourceConfig, queue: Any) -> None:
    queue.put(texts(file, config))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_open_the_store_themselves(method: Any, store: Any) -> None:
    config = config_of("s3://corpus/a/b/small.txt")
    [file] = find_inputs(config)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=_in_process, args=(file, config, queue))
    worker.start()
    assert queue.get(timeout=300) == ["größer"]
    worker.join(60)


def test_a_file_that_changed_in_the_store_is_refused(store: Any) -> None:
    config = config_of("s3://corpus/a/big.jsonl")
    [file] = find_inputs(config)
    store.pipe("corpus/a/big.jsonl", "".join(LINES).replace("line 1 ", "line 2 ").encode())
    with pytest.raises(InputError, match=r"^s3://corpus/a/big.jsonl: changed while the data was being prepared"):
        texts(file, config)
    store.rm("corpus/a/big.jsonl")
    with pytest.raises(InputError, match="no such file or folder"):
        texts(file, config)


def test_a_file_that_changes_while_it_is_read_is_refused(store: Any) -> None:
    content = b"".join(b'{"text": "%d%s"}\n' % (number, b"x" * 20_000) for number in range(1000))
    store.pipe("corpus/large.jsonl", content)
    config = config_of("s3://corpus/large.jsonl")
    [file] = find_inputs(config)
    documents = read(InputSplit(file, 0, file.size), config)
    next(documents)
    store.pipe("corpus/large.jsonl", content.replace(b"999x", b"998x"))
    with pytest.raises(InputError, match="changed while the data was being prepared"):
        list(documents)


@pytest.mark.parametrize(
    "url", ["s3://nowhere/a", "s3://nowhere/*.txt", "s3://corpus/none.txt", "s3://corpus/none/", "s3://corpus/x*.txt"]
)
def test_a_url_that_leads_nowhere_is_one_message(url: str, store: Any) -> None:
    with pytest.raises(InputError) as raised:
        find_inputs(config_of(url))
    assert str(raised.value).startswith((f"{url}: no such file", f"data.paths: {url}: no such file"))
    assert "\n" not in str(raised.value)


def test_wrong_credentials_are_one_message_without_secrets(endpoint: str, store: Any) -> None:
    config = config_of("s3://corpus/a/b/small.txt")
    [file] = find_inputs(config)
    _check_credentials_after(endpoint, 0)
    try:
        for url in ("s3://corpus/a", "s3://corpus/a/*.txt", "s3://corpus/a/b/small.txt"):
            with pytest.raises(InputError, match=f"^{re.escape(url)}: access denied; check the credentials") as raised:
                find_inputs(config_of(url))
            assert SECRET not in str(raised.value)
        with pytest.raises(InputError, match="access denied"):
            texts(file, config)
    finally:
        _check_credentials_after(endpoint, 10**9)


def _check_credentials_after(endpoint: str, num_requests: int) -> None:
    """Let the server begin to refuse unknown keys."""
    body = str(num_requests).encode()
    headers = {"Content-Type": "text/plain"}
    urllib.request.urlopen(
        urllib.request.Request(f"{endpoint}/moto-api/reset-auth", data=body, headers=headers, method="POST")
    ).close()


def test_an_unreachable_endpoint_is_one_message_without_secrets(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(SpanwrightError, match=r"s3://corpus/a: the store cannot be read .*AWS_ENDPOINT_URL") as raised:
        find_inputs(config_of("s3://corpus/a"))
    assert SECRET not in str(raised.value)


def test_a_url_of_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(InputError, match=r"unknown kind of URL ftp://; known are local paths and s3://, gs://, hf://$"):
        find_inputs(config_of("ftp://host/x.txt"))
    for chained in ("zip://a.txt::s3://corpus/x.zip", "simplecache::s3://corpus/x.txt", "reference://x"):
        with pytest.raises(InputError, match="unknown kind of URL"):
            find_inputs(config_of(chained))


def test_a_key_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="leave the key out of the URL") as raised:
        config_of(f"s3://someone:{SECRET}@corpus/a")
    assert "leave the key out" in str(raised.value)


def test_a_store_without_its_package_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from data_prep.sources.inputs import find_inputs; from data_prep.sources.config import SourceConfig\n"
        "try: find_inputs(SourceConfig(paths=('s3://corpus/a',)))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "InputError s3://corpus/a: s3:// needs a package: pip install s3fs"
