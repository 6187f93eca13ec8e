"""What a stage of the preparation is: a generator step over documents, some with a decision about the whole corpus.

Every file of this folder is one stage and defines

- `Config`: a `Section` with a literal `kind`, the file's name; it joins the union in `data_prep.config`;
- `VERSION`: a number to raise when the code would treat the same document another way;
- `step(config)`, where each document can be judged by itself, or
- `observer(config)`, `REDUCTIONS` and `step(config, decision)`, where the whole corpus has to be seen first.

A stage that reads files of its own (evaluation texts) names them in `inputs(config)`. One whose observer depends on
a part of its config says which in `observing(config)`, plain JSON: when only the rest changes, the corpus is not read
again.

`ONLY_DROPS = True` promises that documents which stay are the very ones that came, in order: then they are not written
again, only their numbers.

Invariant: what a stage does depends on its config, the documents in their order, and the content of its inputs; never
on how the corpus was cut into units, the number of workers or of parts, or the order in which tasks ran.

1. A pass reads a unit's documents, runs the steps of its local stages, and shows what is left to an observer.
2. Reductions, one after another, each as `parts` tasks, turn what the observers of all units saved into a decision.
3. The next pass begins with the step that carries the decision out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from data_prep.sources.document import Document


@dataclass(frozen=True)
class Dropped:
    """A document that a stage takes out. `reason` is one word to count by, `detail` is what to show."""

    document: Document
    reason: str
    detail: str


Step = Callable[[Iterable[Document]], Iterator[Document | Dropped]]


class Observer(Protocol):
    """Sees the documents of one unit, in order, and saves what the reductions need: digests and counts, never text."""

    def add(self, document: Document) -> None:
        """Take note of a document."""

    def save(self, folder: Path) -> dict[str, Any]:
        """Write files into `folder` (new, its own); return plain JSON counts for the record and the card."""


@dataclass(frozen=True)
class Part:
    """One task of a reduction: part `number` of `count`, which writes into `out` (new, its own).

    `inputs` are the folders of all parts of the reduction before, `observed` the observers' folders, one per unit in
    their order; for the first reduction both are the same.
    """

    inputs: Sequence[Path]
    observed: Sequence[Path]
    out: Path
    number: int
    count: int


@dataclass(frozen=True)
class Reduction:
    """One step from observations to a decision. `partitioned`: as many tasks as the driver likes, else one."""

    name: str
    run: Callable[[Any, Part], dict[str, Any]]  # (the stage's config, its part) -> plain JSON counts
    partitioned: bool = False


@dataclass(frozen=True)
class Decision:
    """What the last reduction wrote (the folders of its parts), and the unit it is to be carried out for."""

    folders: Sequence[Path]
    unit: int
