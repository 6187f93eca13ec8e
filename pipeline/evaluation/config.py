"""What an `evaluation:` section may say."""

from typing import Annotated

from pydantic import Field

from data_prep.section import Section


class EvaluationConfig(Section):
    """The evaluation stage that closes a run."""

    fill_in: int = Field(default=3, ge=0, description="held-out snippets the exported model fills in, shown as text")
    groups: int = Field(
        default=12, ge=0, description="sources and languages, the largest, with a held-out loss; 0: none"
    )
    probes: Annotated[tuple[str, ...], Field(strict=False)] = ("heldout",)
    """What `spanwright evaluate --list` shows, or `all`; of a run whose corpus was too small to hold text out, none."""
    max_new_tokens: int = Field(default=16, gt=0, description="tokens it may write for one snippet")
