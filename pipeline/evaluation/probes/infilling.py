"""Span infilling: how often the model writes exactly the tokens that were taken out of a held-out text."""

from data_prep.errors import InputError
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.gaps import GapFiller, exactly, gaps_of
from pipeline.evaluation.subject import Subject, needs_gaps

ABOUT = "spans written exactly as they were, and their loss"
NEEDS = "a model that fills gaps: sentinels or masks"
GAPS, HIDDEN = 128, (1, 3)


def measure(subject: Subject) -> Figures:
    """Of spans of one token and of three, in the middle of held-out windows."""
    needs_gaps(subject, "infilling")
    filler = GapFiller(subject)
    metrics, samples = {}, []
    values: list[float] = []
    for hidden in HIDDEN:
        gaps = gaps_of(subject, GAPS, hidden)
        if not gaps:
            raise InputError("probe infilling: no held-out document is long enough to hide words in")
        written = filler.write(gaps)
        right = exactly(written, gaps)
        metrics[f"exact@{hidden}"] = Figure.mean(right)
        metrics[f"loss@{hidden}"] = Figure.mean(filler.losses(gaps))
        values = values or right
        decode = subject.tokenizer.decode
        samples += [
            {"before": decode(gap.before), "hidden": decode(gap.hidden), "written": decode(tokens)}
            for gap, tokens in list(zip(gaps, written, strict=True))[:4]
        ]
    settings = {**subject.texts.settings, "gaps": GAPS, "hidden_tokens": HIDDEN, "fills": subject.habits.fills}
    return Figures(metrics, settings=settings, values=values, samples=samples)
