"""`spanwright evaluate TARGET PROBES`: what is asked of which model, and the tables that show it."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from data_prep.config import DataConfig
from data_prep.errors import InputError
from data_prep.shards.names import is_dataset
from launch.malloc import keep_freed_memory
from launch.terminal import console, detail, table
from pipeline.config import load_config
from pipeline.config_files import RUN_CONFIG_NAME, load_tree
from pipeline.validation import validate_tree

_ANY_WIDTH = 10_000


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    target: str
    probes: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    step: int | None = None
    data: Path | None = None
    pairs: Path | None = None
    beside: tuple[Path, ...] = ()
    as_json: bool = False

    @classmethod
    def of_words(cls, target: str, words: Sequence[str], **options: Any) -> "Request":
        """Words with a `=` are overrides of the config, the others probes."""
        overrides = tuple(word for word in words if "=" in word)
        return cls(target, tuple(word for word in words if "=" not in word), overrides, **options)

    @property
    def is_stage(self) -> bool:
        """Whether nothing but the run is named: then the stage of the run is meant."""
        asks = (self.probes, self.step, self.data, self.pairs, self.beside, self.as_json)
        return not any(asks) and not self.of_export

    @property
    def of_export(self) -> bool:
        """Whether the target is an exported folder."""
        from pipeline.evaluation.exported import is_export

        folder = Path(self.target)
        return folder.is_dir() and not (folder / RUN_CONFIG_NAME).is_file() and is_export(folder)


def probe_table() -> Table:
    """Every probe, a line each."""
    from pipeline.evaluation.probes import describe_probes

    return table(("probe", "measures", "needs"), describe_probes())


def evaluate_request(request: Request) -> None:
    """Ask the probes and show what each found as it is done, or all of it as JSON."""
    from pipeline.evaluation.figures import Figures
    from pipeline.evaluation.results import read_results

    with _texts_from(request) as data:
        place, found = _ask(request, data)
        for line in place.skipped:
            detail(line)
        for name, figures in found:
            if request.as_json:
                continue
            if isinstance(figures, Figures):
                for each in figures_tables(name, figures, console.width):
                    console.print(each)
                    console.print()
            else:
                detail(figures)
    if request.as_json:
        print(json.dumps(read_results(place.path), indent=1, ensure_ascii=False))
    else:
        detail(str(place.path))


def figures_tables(name: str, figures: Any, width: int) -> Iterator[Table]:
    """A row for all and one for each group, a column for each metric: as many tables as it takes to fit `width`."""
    groups = [(f"{kind} {group}", own) for kind, named in figures.groups.items() for group, own in named.items()]
    rows = [("all", figures.metrics), *groups]
    columns = list(dict.fromkeys(metric for _, own in rows for metric in own))
    while columns:
        # From the widest to one column alone, which may be too wide.
        tables = (_figures_table(name, columns[:number], rows) for number in range(len(columns), 0, -1))
        made = next((made for made in tables if _width(made) <= width), _figures_table(name, columns[:1], rows))
        yield made
        columns = columns[len(made.columns) - 1 :]


def _width(made: Table) -> int:
    return console.measure(made, options=console.options.update(width=_ANY_WIDTH)).maximum


def _figures_table(name: str, columns: Sequence[str], rows: Sequence[tuple[str, Any]]) -> Table:
    """The rows that have any of these metrics."""
    told = [(label, own) for label, own in rows if any(metric in own for metric in columns)]
    return table(
        (name, *columns), [(label, *(_cell(own.get(metric)) for metric in columns)) for label, own in told], columns
    )


def _cell(figure: Any) -> str:
    if figure is None:
        return ""
    value = f"{figure.value:,.0f}" if float(figure.value).is_integer() and figure.low is None else f"{figure.value:.4f}"
    return value if figure.low is None else f"{value} [{figure.low:.3f}, {figure.high:.3f}]"


def _ask(request: Request, data: Path | None) -> Any:
    from pipeline.evaluation.config import EVERY
    from pipeline.evaluation.exported import evaluate_export
    from pipeline.evaluation.run import evaluate_run
    from pipeline.evaluation.subject import Options

    keep_freed_memory()
    options = Options(request.pairs, request.beside)
    if not request.of_export:
        config = load_config(request.target, request.overrides)
        return evaluate_run(config, request.probes or config.evaluation.probes, request.step, data, options)
    if request.overrides or request.step is not None:
        raise InputError(f"evaluate {request.target}: neither --step nor overrides go with an exported model")
    return evaluate_export(Path(request.target), request.probes or (EVERY,), data, options)


@contextmanager
def _texts_from(request: Request) -> Iterator[Path | None]:
    """The dataset that `--data` names: a folder, or one prepared from a `data:` section with the model's tokenizer."""
    if request.data is None:
        yield None
    elif is_dataset(request.data):
        yield request.data
    elif not request.data.is_file():
        raise InputError(f"--data {request.data}: neither a prepared dataset nor a YAML file with a `data:` section")
    else:
        from data_prep.driver import prepare

        config = validate_tree(load_tree(request.data), DataConfig)
        tokenizer = config.tokenizer.model_copy(update={"path": str(_tokenizer_of(request))})
        wanted = config.model_copy(update={"tokenizer": tokenizer, "heldout_fraction": 0.0})
        with tempfile.TemporaryDirectory(prefix="spanwright_evaluate_") as folder:
            prepare(wanted, Path(folder) / "data")
            yield Path(folder) / "data"


def _tokenizer_of(request: Request) -> Path:
    from data_prep.shards import Dataset
    from data_prep.tokenizer.tokenizer import MODEL_NAME

    if request.of_export:
        return Path(request.target).absolute() / MODEL_NAME
    config = load_config(request.target, request.overrides)
    return Dataset.open(config.data_dir).tokenizer_folder.absolute() / MODEL_NAME
