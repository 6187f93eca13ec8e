"""Triton's interpreter without two of its detours, which take most of the time of attention's kernels.

1. It prepares `triton.language` anew for every call of a device function; tiles call dozens.
2. For each sum and product of integers it works out whether it overflows, by seven operations of 64 bits, and asserts
   what it found only in its debug mode, which nobody asks for.
"""

from dataclasses import replace
from typing import Any

from triton.runtime import interpreter

_prepared: set[int] = set()  # modules, by the identity of their globals


def interpret_faster() -> None:
    """From now on a launch prepares the language for its kernel, as ever, and a module's first device function for its.

    And sums of integers are sums of integers.
    """
    interpreter.InterpretedFunction.__call__ = _call
    builder = interpreter.interpreter_builder
    assert not builder.options.debug, "whoever looks at overflows, keeps them"
    builder.options = replace(builder.options, sanitize_overflow=False)


def _call(function: Any, *args: Any, **kwargs: Any) -> Any:
    if id(function.fn.__globals__) not in _prepared:
        interpreter._patch_lang(function.fn)
        _prepared.add(id(function.fn.__globals__))
    return function.rewrite()(*args, **kwargs)
