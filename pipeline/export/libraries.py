"""The optional libraries of an export, asked for by name so that a missing one is a clear message."""

import importlib
from types import ModuleType
from typing import Any

from data_prep.errors import SpanwrightError
from pipeline.kernels.packages import quiet_torchao


def library(name: str) -> ModuleType:
    """The imported library `name`; SpanwrightError that says how to get it when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SpanwrightError(
            f"exporting needs {name}, which is not installed: pip install 'spanwright[export]'"
        ) from error


def quiet_transformers() -> Any:
    """transformers, told to print neither progress bars nor advice."""
    transformers: Any = library("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    quiet_torchao()  # which transformers looks at where it is installed
    return transformers
