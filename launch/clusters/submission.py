"""What is submitted, as plain data: files to write into the run folder, and commands to run then, in order.

Invariant: `describe` shows every byte that would be written and every command that would be run; nothing else is.
"""

import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.errors import InputError
from pipeline.config import RunConfig

SUBMIT_FOLDER = "submit"
_PLAIN_PATH = re.compile(r"^/[A-Za-z0-9_./@+=-]+$")
_JOB_NAME = re.compile(r"[^a-z0-9]+")
_ID = re.compile(r"\{([a-z0-9-]+)\}")


@dataclass(frozen=True)
class Job:
    """One command that submits something. `{NAME}` in it stands for the id that job NAME was given."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Submission:
    """Everything that submitting a run would do."""

    files: dict[str, str] = field(default_factory=dict)
    """Text by path, relative to the run folder."""
    jobs: tuple[Job, ...] = ()
    notes: tuple[str, ...] = ()
    """What the user is told, or has to do."""

    def describe(self, run_dir: Path) -> str:
        """The whole submission as text."""
        parts = [f"# file {run_dir / name}\n{text}" for name, text in self.files.items()]
        parts += [f"# job {job.name}\n$ {shlex.join(job.command)}\n" for job in self.jobs]
        parts += [f"{note}\n" for note in self.notes]
        return "\n".join(parts)


def filled_in(command: tuple[str, ...], ids: dict[str, str]) -> tuple[str, ...]:
    """`command` with the ids of the jobs submitted before it."""
    return tuple(_ID.sub(lambda match: ids.get(match[1], match[0]), word) for word in command)


def plain_path(path: Path, what: str) -> str:
    """`path` as text that no scheduler or shell reads anything into; InputError otherwise."""
    if not _PLAIN_PATH.match(str(path)) or ".." in path.parts:
        raise InputError(
            f"{what}: {path}: clusters need an absolute path of letters, digits and any of _ . / @ + = -; "
            "choose another folder (run.dir=...)"
        )
    return str(path)


def program(name: str = "spanwright") -> str:
    """The command `name` of the Python that runs now."""
    return plain_path(Path(sys.executable).with_name(name), "the running Python")


def job_name(config: RunConfig) -> str:
    """A name for the run's jobs from its folder's, as every scheduler takes it (KubeRay's begin with a letter)."""
    name = _JOB_NAME.sub("-", config.run_dir.name.lower()).strip("-")[:40].strip("-")
    return name if name[:1].isalpha() else f"run-{name}".strip("-")
