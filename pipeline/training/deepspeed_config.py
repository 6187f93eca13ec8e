"""The DeepSpeed JSON: derived from the `training:` section, with the user's `deepspeed:` section merged over it."""

from collections.abc import Mapping
from typing import Any

from data_prep.errors import InputError
from pipeline.training.config import TrainingConfig, accumulation_steps

_OWNED_ELSEWHERE = {
    "train_batch_size": "training.global_batch",
    "train_micro_batch_size_per_gpu": "training.micro_batch",
    "gradient_accumulation_steps": "training.global_batch and training.micro_batch",
    "gradient_clipping": "training.max_grad_norm",
    "optimizer": "training.optimizer, learning_rate, betas, eps and weight_decay",
    "scheduler": "training.schedule",
    "bf16": "training.precision",
    "fp16": "training.precision",
    "zero_optimization.stage": "training.zero_stage",
    "zero_optimization.offload_optimizer": "training.zero_stage (offloading is not supported)",
    "zero_optimization.offload_param": "training.zero_stage (offloading is not supported)",
    "prescale_gradients": "nothing: gradients are averaged exactly",
    "gradient_predivide_factor": "nothing: gradients are averaged exactly",
}


def derive_deepspeed_config(config: TrainingConfig, world_size: int, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What DeepSpeed is started with. InputError when `overrides` sets what another field of the config decides."""
    _refuse_owned(overrides)
    derived: dict[str, Any] = {
        "train_batch_size": config.global_batch,
        "train_micro_batch_size_per_gpu": config.micro_batch,
        "gradient_accumulation_steps": accumulation_steps(config.global_batch, config.micro_batch, world_size),
        # With one fp32 engine and no ZeRO there is no wrapper that clips: the engine does it (see Engine.step).
        "gradient_clipping": 0.0 if clips_itself(config) else config.max_grad_norm,
        "zero_optimization": {
            "stage": config.zero_stage,
            "overlap_comm": False,
            "reduce_bucket_size": 50_000_000,
            "allgather_bucket_size": 50_000_000,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": None,
    }
    if config.precision == "bf16":
        # A step with a non-finite gradient is judged here (training.trouble), not skipped without a word.
        derived["bf16"] = {"enabled": True, "check_grad_overflow": False}
        if config.zero_stage > 0:
            derived["data_types"] = {"grad_accum_dtype": "fp32"}
    return _merged(derived, overrides)


def clips_itself(config: TrainingConfig) -> bool:
    """Whether DeepSpeed wraps the optimizer with nothing that clips and reports the gradient norm."""
    return config.zero_stage == 0 and config.precision == "fp32"


def _refuse_owned(overrides: Mapping[str, Any], prefix: str = "") -> None:
    for key, value in overrides.items():
        name = f"{prefix}{key}"
        if name in _OWNED_ELSEWHERE:
            raise InputError(f"deepspeed.{name} is decided by {_OWNED_ELSEWHERE[name]}: remove it from `deepspeed:`")
        if isinstance(value, Mapping):
            _refuse_owned(value, f"{name}.")


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and not isinstance(value, Mapping):
            raise InputError(f"deepspeed.{key} should be a section of keys, not {value!r}")
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
