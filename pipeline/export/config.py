"""What an `export:` section may say."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_prep.section import Positive, Section

Target = Literal["hf", "encoder", "sentence-transformers", "onnx", "native"]


class ExportConfig(Section):
    """Which formats a finished run is exported to, and how much is compared before an export counts as done."""

    to: Annotated[tuple[Target, ...], Field(strict=False)] = ("hf",)
    """Empty: none; the checkpoints keep the weights."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Type of the stored weights; training's masters are fp32."""
    shard_bytes: Positive = 5_000_000_000
    """Weights larger than this lie in several files."""
    encoder_layers: Positive | None = None
    """How many layers of the encoder `encoder` and `sentence-transformers` keep; null: all."""
    pooling: Literal["cls", "mean"] | None = None
    """What makes one vector of a text's states; null: what the recipe trains."""
    normalize: bool = True
    """Whether the vectors of `sentence-transformers` have length 1."""
    prompts: dict[str, str] = Field(default_factory=dict)
    """What `sentence-transformers` puts before a text, by name, such as query and document."""
    compare_sequences: Positive = 32
    """How many held-out sequences are run through the trained and the exported model."""
    compare_bytes: Positive = 16 << 30
    """Models whose two copies in float64 need more memory than this are compared a block at a time, which is slower."""
    tolerance: Annotated[float, Field(gt=0.0)] = 1e-4
    """Largest allowed difference of any logit; both models are computed in float64."""
    onnx_tolerance: Annotated[float, Field(gt=0.0)] = 1e-3
    """The same for `onnx`, which onnxruntime computes in float32."""

    @model_validator(mode="after")
    def _targets_are_named_once(self) -> Self:
        twice = [target for target in self.to if self.to.count(target) > 1]
        if twice:
            raise ValueError(f"to names {twice[0]} twice")
        return self
