"""The base of every config model, here and in `pipeline`: immutable, strict about unknown keys and about types."""

import typing
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Base of every config model: immutable, strict about unknown keys; text is never taken for a number or a bool."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _text_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        items = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, str) for item in items):
            wanted = _scalars(cls.model_fields[info.field_name or ""].annotation)
            if wanted and wanted <= _NOT_TEXT.keys():
                raise ValueError(f"Input should be {_NOT_TEXT[min(wanted, key=list(_NOT_TEXT).index)]}, not text")
        return value


# Types that text would otherwise be converted to, and what to call them; of several, the first is named.
_NOT_TEXT = {float: "a valid number", int: "a valid integer", bool: "true or false", type(None): "empty"}


def _scalars(annotation: Any) -> set[Any]:
    """The types that `annotation` allows, within unions and tuples."""
    if typing.get_origin(annotation) is Literal:
        return {type(value) for value in typing.get_args(annotation)}
    if typing.get_origin(annotation) is Annotated:
        return _scalars(typing.get_args(annotation)[0])
    parts = [part for part in typing.get_args(annotation) if part is not Ellipsis]
    return set[Any]().union(*map(_scalars, parts)) if parts else {annotation}
