"""A bounded memory of things that can be made again, dropped least recently used first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Keeps the most recently used values while their costs sum to at most `limit` (the newest one is always kept)."""

    def __init__(self, limit: int, cost: Callable[[V], int] = lambda value: 1) -> None:
        self._limit, self._cost = limit, cost
        self._values: OrderedDict[K, V] = OrderedDict()
        self._total = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value kept under `key`; made, and kept, when there is none."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        self._total += self._cost(value)
        while self._total > self._limit and len(self._values) > 1:
            self._total -= self._cost(self._values.popitem(last=False)[1])
        return value
