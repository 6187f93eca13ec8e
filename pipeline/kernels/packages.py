"""What is used on a GPU beside torch, and is not installed everywhere."""

import logging
from functools import cache
from importlib.util import find_spec


@cache
def is_installed(package: str) -> bool:
    """Whether `package` could be imported; it is not."""
    return find_spec(package) is not None


def quiet_torchao() -> None:
    """Let its import, ours or transformers', not tell of kernels of its own that nobody asks for here."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
