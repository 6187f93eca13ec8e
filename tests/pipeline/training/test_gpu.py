"""A whole run on a GPU, where there is one: masked here or there, kernels recorded or not, resumed: the same bits."""

import shutil
from pathlib import Path

import pytest

from tests.pipeline.kernels.gpu import needs_gpu

from .conftest import losses, result

pytestmark = needs_gpu
SHOWN = {"evaluate_every": 4, "heldout_samples": 3, "log_every": 1}


@pytest.fixture(scope="module")
def trained(make_run, launch) -> Path:
    """Twelve steps, all of them logged, some evaluated and shown."""
    run_dir = make_run(checkpoint={"keep_last": 3}, **SHOWN)
    done = launch(run_dir, timeout=600)
    assert done.returncode == 0, done.stderr
    return run_dir


def test_on_a_gpu_masks_of_the_device_train_to_the_same_bits(trained, make_run, launch):
    run_dir = make_run(masking="device", **SHOWN)
    done = launch(run_dir, timeout=600)
    assert done.returncode == 0, done.stderr
    assert losses(run_dir) == losses(trained)
    assert result(run_dir) == result(trained)


def test_on_a_gpu_recorded_kernels_train_to_the_same_bits(trained, make_run, launch):
    run_dir = make_run(cuda_graphs=False, **SHOWN)
    done = launch(run_dir, timeout=600)
    assert done.returncode == 0, done.stderr
    assert losses(run_dir) == losses(trained)
    assert result(run_dir) == result(trained)


def test_on_a_gpu_a_run_that_goes_on_ends_bit_equal(trained, make_run, launch, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    make_run(run_dir=run_dir, checkpoint={"keep_last": 3}, **SHOWN)
    (run_dir / "train" / "result.json").unlink()
    for step in (10, 12):
        shutil.rmtree(run_dir / "train" / "checkpoints" / f"step-{step:08d}")
    done = launch(run_dir, timeout=600)
    assert "continuing after step 5 of 12" in done.stdout
    assert losses(run_dir) == losses(trained)
    assert result(run_dir) == result(trained)
