"""Budgets: how many commands of a rule, or of a policy's rules, delivery lets through in a window, over all users."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.types import NAME, Count, Fact

MAX_BUDGET = 1_000_000_000


class Budget(Fact):
    """At most `max` commands in a rolling window of `per_ms`, or in each local day, week or month of `zone`.

    Its name says who wrote it: `trigger/NAME` or `policy/NAME`.
    """

    name: Annotated[str, Field(pattern=f"^(trigger|policy)/{NAME}$")]
    max: Annotated[Count, Field(le=MAX_BUDGET)]
    per_ms: Annotated[int, Field(gt=0)] | None = None
    unit: Literal["day", "week", "month"] | None = None
    zone: Annotated[str, Field(max_length=64)] | None = None

    @model_validator(mode="after")
    def _has_one_window(self) -> Self:
        if (self.per_ms is None) == (self.unit is None) or (self.unit is None) != (self.zone is None):
            raise ValueError("a budget has either `per_ms`, or `unit` and `zone`")
        return self

    @property
    def window(self) -> str:
        """Its window as a key: two budgets of one name with one window count together."""
        return f"{self.per_ms}ms" if self.unit is None else f"calendar {self.unit} {self.zone}"
