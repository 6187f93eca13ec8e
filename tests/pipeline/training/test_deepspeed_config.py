"""What of DeepSpeed's own config a user may set: anything that no field of ours decides."""

import pytest

from data_prep.errors import InputError
from pipeline.training.config import TrainingConfig
from pipeline.training.deepspeed_config import derive_deepspeed_config

CONFIG = TrainingConfig.model_validate({"steps": 10, "global_batch": 8, "micro_batch": 2})


def test_a_users_keys_are_laid_over_ours() -> None:
    derived = derive_deepspeed_config(CONFIG, 2, {"zero_optimization": {"overlap_comm": True}, "wall_clock": 1})
    assert derived["gradient_accumulation_steps"] == 2
    assert derived["zero_optimization"].items() > {"stage": CONFIG.zero_stage, "overlap_comm": True}.items()
    assert derived["wall_clock"] == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"zero_optimization": 3}, r"deepspeed\.zero_optimization should be a section of keys, not 3"),
        ({"zero_optimization": None}, r"deepspeed\.zero_optimization should be a section of keys, not None"),
        (
            {"zero_optimization": {"stage": 3}},
            r"deepspeed\.zero_optimization\.stage is decided by training\.zero_stage",
        ),
        ({"bf16": {"enabled": False}}, r"deepspeed\.bf16 is decided by training\.precision"),
    ],
)
def test_what_a_field_of_ours_decides_is_refused_with_its_name(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        derive_deepspeed_config(CONFIG, 2, overrides)
