"""Modules that draw: each has a stream of its own, named by what it draws and by its path in the model."""

from typing import ClassVar

from torch import nn

from pipeline.corruption.philox import Key, stream_key


class Drawing(nn.Module):
    """A module with a stream of random bits; `key` is there once the model was given its run's seed."""

    stream: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._key: Key | None = None

    @property
    def key(self) -> Key:
        """The stream's key."""
        assert self._key is not None, "key_streams names every stream before training"
        return self._key

    @key.setter
    def key(self, key: Key) -> None:
        self._key = key


def key_streams(model: nn.Module, seed: int, prefix: str = "") -> None:
    """Give every drawing module of `model` the key of the stream "STREAM/MODULE PATH" of the run with `seed`.

    `prefix` is put before the paths: a part trained beside the model gives its own, to have streams of its own.
    """
    for path, module in model.named_modules():
        if isinstance(module, Drawing):
            module.key = stream_key(seed, f"{module.stream}/{prefix}{path}")
