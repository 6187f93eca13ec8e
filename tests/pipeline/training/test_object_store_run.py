"""A whole run whose checkpoints lie in S3, killed twice, ends bit for bit as one that keeps them in a folder."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs

from pipeline.checkpoint.load import newest_valid, saved_steps
from tests import s3_server

from .conftest import losses, result
from .test_resume import ACCUMULATING, kill_at_step

URL = "s3://models/run/checkpoints"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A bucket `models` of a server that this process, and those it starts, know of."""
    with s3_server.running() as endpoint:
        for name, value in s3_server.environment(endpoint).items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem(use_listings_cache=False).mkdir("models")
        yield
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.long
def test_a_run_with_its_checkpoints_in_s3_is_killed_and_ends_as_one_with_a_folder(
    make_run: Any, launch: Any, bucket: None
) -> None:
    straight = make_run(ranks=2, **ACCUMULATING)
    assert launch(straight, ranks=2).returncode == 0
    run_dir: Path = make_run(ranks=2, checkpoint={"dir": URL, "save_every": 3}, **ACCUMULATING)
    for step in (5, 9):
        kill_at_step(run_dir, step)
        assert newest_valid(URL).problems == []
    assert saved_steps(URL)[0] >= 3
    done = launch(run_dir, ranks=2)
    assert done.returncode == 0, done.stderr
    assert re.search(r"continuing after step (3|6|9) of 12", done.stdout)  # saves go on beside training
    assert losses(run_dir) == losses(straight)
    assert result(run_dir) == result(straight)
    assert saved_steps(URL) == [12, 9]
    assert not (run_dir / "train" / "checkpoints").exists()
