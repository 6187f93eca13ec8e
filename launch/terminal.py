"""How the command line speaks: one console for words and tables, one line for an error."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def heading(stage: str, text: str) -> None:
    """The line that opens a stage."""
    console.print(f"[bold cyan]{stage:<9}[/] {escape(text)}", soft_wrap=True)


def detail(text: str) -> None:
    """A line below a stage's heading."""
    console.print(f"{'':<9} {escape(text)}", soft_wrap=True)


def show_error(message: str) -> None:
    """A mistake, to standard error."""
    errors.print(f"[bold red]error[/] {escape(message)}", soft_wrap=True)


def table(columns: Iterable[str], rows: Iterable[Iterable[str]], numeric: Iterable[str] = ()) -> Table:
    """A plain table; the columns named in `numeric` are set to the right."""
    right = set(numeric)
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape(cell) for cell in row))
    return made


def count_of(number: int, noun: str) -> str:
    """1 and 'document' as '1 document', 2000 as '2,000 documents'."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def count(number: float) -> str:
    """12345678 as '12.3 M'."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"
