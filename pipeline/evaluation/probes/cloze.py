"""Cloze by word class: the hidden word among ten of its class (pipeline/evaluation/word_classes.py).

Function words can be told from the words around them; content words need what the text is about (Hill et al. 2016).
"""

from collections import Counter
from collections.abc import Sequence

from data_prep.errors import InputError
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.gaps import GapFiller
from pipeline.evaluation.subject import Subject, needs_gaps
from pipeline.evaluation.word_classes import CANDIDATES, CONTENT, FUNCTION, Question, language_of, questions

ABOUT = "the hidden word among ten of its class: function words, content words"
NEEDS = "a model that fills gaps, and text in a language with a list of function words"
QUESTIONS = 100


def measure(subject: Subject) -> Figures:
    """Accuracy by word class; beside it, that of the most frequent candidate."""
    needs_gaps(subject, "cloze")
    languages = [language_of(document) for document in subject.texts.documents]
    documents = zip(subject.texts.documents, languages, strict=True)
    asked = questions(documents, subject.tokenizer, QUESTIONS, subject.habits.max_tokens)
    by_class = {name: [question for question in asked if question.word_class == name] for name in (FUNCTION, CONTENT)}
    if not asked:
        known = ", ".join(sorted(set(languages)))
        raise InputError(f"probe cloze: no questions could be made of this text (languages: {known})")
    filler, frequencies = GapFiller(subject), _frequencies(subject)
    metrics, beside = {}, {}
    values: list[float] = []
    for name, own in by_class.items():
        if own:
            scores = filler.log_probabilities([question.gap for question in own], [q.candidates for q in own])
            right = [_is_first(row) for row in scores]
            metrics[f"{name}_accuracy"] = Figure.mean(right)
            beside[f"{name}_accuracy"] = Figure.mean([_most_frequent(question, frequencies) for question in own])
            values = values or right
    settings = {
        **subject.texts.settings,
        "questions": {name: len(own) for name, own in by_class.items()},
        "candidates": CANDIDATES,
        "languages": dict(Counter(languages)),
    }
    return Figures(metrics, {"beside": {"most frequent": beside}}, settings, values)


def _frequencies(subject: Subject) -> Counter[int]:
    return Counter(token for document in subject.texts.documents for token in document.tokens.tolist())


def _most_frequent(question: Question, frequencies: Counter[int]) -> float:
    """Whether the right word is the one whose rarest token is the most frequent."""
    counts: Sequence[int] = [min(frequencies[token] for token in word) for word in question.candidates]
    return _is_first(counts)


def _is_first(scores: Sequence[float]) -> float:
    """1 where the first is larger than all others: an undecided model is wrong."""
    return float(scores[0] > max(scores[1:]))
