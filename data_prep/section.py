"""The base of every config model, here and in `pipeline`: immutable, strict about unknown keys and about types."""

import typing
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Base of every config model: immutable, strict about unknown keys; text is never taken for a number or a bool."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _text_is_no_number(cls, values: Any) -> Any:
        if isinstance(values, dict):
            problems = [
                InitErrorDetails(
                    type="value_error", loc=(name,), input=values[name], ctx={"error": ValueError(problem)}
                )
                for name, info in cls.model_fields.items()
                if name in values and (problem := _text_problem(values[name], info.annotation))
            ]
            if problems:
                raise ValidationError.from_exception_data(cls.__name__, problems)
        return values


def _text_problem(value: Any, annotation: Any) -> str | None:
    """What is wrong with text where only numbers and the like can stand (pydantic would convert it); else None."""
    items = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(item, str) for item in items):
        wanted = _scalars(annotation)
        if wanted and wanted <= _NOT_TEXT.keys():
            return f"Input should be {_NOT_TEXT[min(wanted, key=list(_NOT_TEXT).index)]}, not text"
    return None


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
