"""What an `export:` section may say."""

from typing import Annotated, Literal

from pydantic import Field

from data_prep.section import Positive, Section


class ExportConfig(Section):
    """Which formats a finished run is exported to, and how much is compared before an export counts as done."""

    to: Annotated[tuple[Literal["hf"], ...], Field(strict=False)] = ("hf",)
    """Empty: none; the checkpoints keep the weights."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Type of the stored weights; training's masters are fp32."""
    compare_sequences: Positive = 32
    """How many held-out sequences are run through the trained and the exported model."""
    tolerance: Annotated[float, Field(gt=0.0)] = 1e-4
    """Largest allowed difference of any logit; both models are computed in float64."""
