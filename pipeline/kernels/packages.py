"""What a GPU's kernels need beside torch, and is not installed everywhere."""

from functools import cache
from importlib.util import find_spec


@cache
def is_installed(package: str) -> bool:
    """Whether `package` could be imported; it is not."""
    return find_spec(package) is not None
