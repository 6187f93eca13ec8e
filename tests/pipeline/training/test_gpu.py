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
    assert_goes_on_bit_equal(trained, make_run, launch, tmp_path / "run")


OTHERS = {
    "lion": {"optimizer": "lion", "learning_rate": 1e-3},
    "muon": {"optimizer": "muon"},
    "schedule_free": {"optimizer": "schedule_free", "schedule": {"kind": "constant", "warmup_steps": 2}},
    "rms_adamw": {"optimizer": "rms_adamw"},
    "dropped tokens": {"random_ltd": {"start_share": 0.5, "full_at_step": 8}},
}


@pytest.mark.parametrize("name", OTHERS)
def test_on_a_gpu_other_optimizers_and_dropped_tokens_go_on_bit_equal(name, make_run, launch, tmp_path):
    fields = {"model": {"num_layers": 3}, **OTHERS[name]}
    run_dir = make_run(checkpoint={"keep_last": 3}, **SHOWN, **fields)
    done = launch(run_dir, timeout=600)
    assert done.returncode == 0, done.stderr
    assert_goes_on_bit_equal(run_dir, make_run, launch, tmp_path / "run", **fields)


def assert_goes_on_bit_equal(done, make_run, launch, run_dir, **fields):
    """From step 5 on, as if the rest had not been."""
    shutil.copytree(done, run_dir)
    make_run(run_dir=run_dir, checkpoint={"keep_last": 3}, **SHOWN, **fields)
    (run_dir / "train" / "result.json").unlink()
    for step in (10, 12):
        shutil.rmtree(run_dir / "train" / "checkpoints" / f"step-{step:08d}")
    again = launch(run_dir, timeout=600)
    assert "continuing after step 5 of 12" in again.stdout
    assert losses(run_dir) == losses(done)
    assert result(run_dir) == result(done)
