"""Parts of a benchmark that want a process of their own, and what it took."""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any


def child(module: str, *arguments: Any) -> dict[str, Any]:
    """The JSON object in the last line that `python -m MODULE` prints, and the `memory` of that process in GiB.

    SystemExit with what it said when it fails. Memory is what the process says itself, or else the resident size of the
    largest process, at its peak.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        printed = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read().decode(errors='replace')[-4000:]}")
    return {"memory": usage.ru_maxrss / 2**20, **json.loads(printed.splitlines()[-1])}
