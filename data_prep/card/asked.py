"""What a `data:` section asks for beyond the defaults."""

from typing import Any

from data_prep.config import DataConfig


def asked(config: DataConfig) -> dict[str, Any]:
    """What the config says that is not a default (and is about content, not where and how fast)."""
    values = config.model_dump(mode="json", exclude_defaults=True, exclude={"workers", "dir", "stages"})
    stages = [_asked_of_stage(stage) for stage in config.stages]
    return {**values, "stages": stages} if stages else values


def _asked_of_stage(stage: Any) -> Any:
    values = stage.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
    return {"kind": stage.kind, **values} if values else stage.kind
