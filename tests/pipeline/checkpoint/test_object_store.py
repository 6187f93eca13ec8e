"""Checkpoints in S3, against a real server process: the promises of a folder, with a manifest put last."""

from collections.abc import Iterator
from typing import Any

import pytest
import s3fs

from data_prep.errors import InputError, SpanwrightError
from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.load import newest_valid, saved_steps, step_folder
from pipeline.checkpoint.object_store import ObjectStore
from pipeline.checkpoint.places import open_store
from pipeline.checkpoint.resume import agree_on_checkpoint, restore_rank_generators, restore_state
from pipeline.checkpoint.saver import Saver
from pipeline.checkpoint.store import Store
from pipeline.checkpoint.verify import audit_checkpoint, verify_checkpoint
from pipeline.checkpoint.weights import newest_checkpoint
from tests import s3_server

from .conftest import RANK, KeptState, record, write
from .test_checkpoint import FILES

URL = "s3://models/run/checkpoints"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server.running() as url:
        yield url


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket `models`."""
    s3_server.reset(endpoint)
    for name, value in s3_server.environment(endpoint).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem(use_listings_cache=False)
    files.mkdir("models")
    yield files
    s3fs.S3FileSystem.clear_instance_cache()


def keys(bucket: Any) -> list[str]:
    return sorted(key.removeprefix("models/run/checkpoints/") for key in bucket.find("models"))


def newest(store: Store) -> int:
    """The step of the newest valid checkpoint, whose state is that step's; 0 when there is none."""
    found = agree_on_checkpoint(store, RANK, lambda text: None)
    if found is None:
        return 0
    state: Any = KeptState()
    restore_state(*found, state)
    restore_rank_generators(found[0], RANK)
    assert state.same_as(KeptState(seed=found[1].step))
    return found[1].step


def test_a_checkpoint_is_saved_found_verified_and_loaded(bucket: Any) -> None:
    store = open_store(URL)
    assert newest(store) == 0
    saver = Saver(store, RANK, CheckpointConfig(keep_last=2))
    for step in (5, 10, 15):
        state: Any = KeptState(seed=step)
        saver.save(record(step), state)
    saver.finish()
    assert saved_steps(URL) == [15, 10]
    assert keys(bucket) == [f"step-{step:08d}/{name}" for step in (10, 15) for name in FILES]
    assert str(newest_checkpoint(URL)) == f"{URL}/step-00000015"
    assert verify_checkpoint(f"{URL}/step-00000015") == record(15)
    assert newest(store) == 15


def test_what_is_damaged_missing_or_extra_is_named_set_aside_and_the_older_one_continues(bucket: Any) -> None:
    store = open_store(URL)
    for name, damage in (
        ("state.json", lambda key: bucket.pipe(key, b"{}")),
        ("exp_avg-00000.safetensors", bucket.rm_file),
        ("extra.bin", lambda key: bucket.pipe(key, b"x")),
    ):
        for step in (5, 10):
            write(store, step)
        damage(f"models/run/checkpoints/step-00000010/{name}")
        assert any(f"{URL}/step-00000010/{name}: " in problem for problem in audit_checkpoint(step_folder(store, 10)))
        assert newest(store) == 5
        assert saved_steps(store) == [5]
        assert any(folder.startswith("damaged-step-00000010") for folder in store.folders())


class DyingStore(ObjectStore):
    """Reaches its end after `operations` requests that change something."""

    def __init__(self, operations: int) -> None:
        super().__init__(URL)
        self.left, real = operations, self._filesystem
        outer = self

        class Dying:
            def __getattr__(self, name: str) -> Any:
                if name in ("pipe_file", "rm_file", "cp_file"):
                    outer.left -= 1
                    if outer.left < 0:
                        raise ConnectionError("the process is gone")
                return getattr(real, name)

        self._filesystem = Dying()


def test_a_death_after_any_request_of_a_save_leaves_the_older_checkpoint_or_the_new_one_whole(bucket: Any) -> None:
    seen, requests = set(), 0
    while True:
        bucket.rm("models/run", recursive=True) if bucket.exists("models/run") else None
        write(open_store(URL), 5, keep_last=1)
        store = DyingStore(requests)
        try:
            write(store, 10, keep_last=1)
        except SpanwrightError:
            assert store.left < 0
        else:
            break
        requests += 2  # every second place will do
        seen.add(newest(open_store(URL)))
        assert saved_steps(URL)[0] == max(newest(open_store(URL)), 5)
        write(open_store(URL), 15, keep_last=1)
        assert newest(open_store(URL)) == 15
    assert seen == {5, 10}
    assert requests == 2 * len(FILES)


def test_a_bucket_that_is_not_there_and_a_server_that_is_not_are_one_message(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpanwrightError, match="s3://nowhere/run"):
        write(open_store("s3://nowhere/run"), 5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(SpanwrightError, match=r"s3://models/run/checkpoints: the store cannot be read") as caught:
        newest_valid(URL)
    assert s3_server.SECRET not in str(caught.value)
    with pytest.raises(InputError, match="unknown kind of URL"):
        open_store("ftp://host/run")
