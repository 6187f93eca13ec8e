"""What an `evaluation:` section may say."""

from pydantic import Field

from data_prep.section import Section


class EvaluationConfig(Section):
    """The evaluation stage that closes a run."""

    fill_in: int = Field(default=3, ge=0, description="held-out snippets the exported model fills in, shown as text")
    groups: int = Field(
        default=12, ge=0, description="sources and languages, the largest, with a held-out loss; 0: none"
    )
    max_new_tokens: int = Field(default=16, gt=0, description="tokens it may write for one snippet")
