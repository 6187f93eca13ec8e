"""Triton's interpreter, faster: it prepares `triton.language` anew for every call of a device function."""

from typing import Any

from triton.runtime import interpreter

_prepared: set[int] = set()  # modules, by the identity of their globals


def prepare_once() -> None:
    """From now on a launch prepares the language for its kernel, as ever, and a module's first device function for its.

    That took four fifths of the time of attention's kernels, tiles of which call dozens of device functions.
    """
    interpreter.InterpretedFunction.__call__ = _call


def _call(function: Any, *args: Any, **kwargs: Any) -> Any:
    if id(function.fn.__globals__) not in _prepared:
        interpreter._patch_lang(function.fn)
        _prepared.add(id(function.fn.__globals__))
    return function.rewrite()(*args, **kwargs)
