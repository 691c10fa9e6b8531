"""What is wrong with a value, without a word of pydantic and without the value."""

import re
from datetime import date, timedelta
from typing import Annotated, Any, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from schemas.mistakes import mistake_words, mistakes
from schemas.topics import TOPICS
from schemas.types import Address, Id, Instant, Name

_OF_PYDANTIC = re.compile(r"inputs? |should |field required|\ba valid |value error", re.IGNORECASE)
_ONCE = "2026-11-29T10:00:00"
_OF_CONTEXTS = (
    *("error", "gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "expected"),
    "expected_schemes",
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (int, "x", "not a whole number"),
        (int, 1.5, "not a whole number"),
        (float, [], "not a number"),
        (bool, "perhaps", "neither true nor false"),
        (str, 3, "not text"),
        (list[int], 3, "not a list"),
        (dict[str, int], 3, "not an object"),
        (Literal["a", "b"], "c", "none of 'a' or 'b'"),
        (Annotated[int, Field(ge=1)], 0, "less than 1"),
        (Annotated[int, Field(le=9)], 10, "more than 9"),
        (Annotated[float, Field(gt=0)], 0, "not more than 0"),
        (Annotated[float, Field(allow_inf_nan=False)], float("nan"), "not a finite number"),
        (Annotated[list[int], Field(min_length=1)], [], "empty"),
        (Annotated[list[int], Field(max_length=1)], [1, 2], "more than 1 entries"),
        (Id, "", "empty"),
        (Id, "a" * 257, "longer than 256 characters"),
        (Id, "a\nb", "control characters are not allowed"),
        (Name, "9", "not of the form ^[A-Za-z][A-Za-z0-9_.:/-]{0,127}$"),
        (Instant, "soon", "not a time such as 2026-11-29T10:00:00Z"),
        (Instant, _ONCE, "a time without an offset; Z is that of UTC"),
        (date, "soon", "not a date such as 2026-11-29"),
        (timedelta, "soon", "not a duration"),
    ],
)
def test_a_wrong_value_is_told_in_our_words(kind: Any, value: Any, said: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        TypeAdapter(kind).validate_python(value)
    assert mistakes(wrong.value) == {"": said}


def test_missing_and_unknown_fields_are_told_at_their_places() -> None:
    class Inner(BaseModel):
        model_config = ConfigDict(extra="forbid")
        address: Address

    with pytest.raises(ValidationError) as wrong:
        TypeAdapter(list[Inner]).validate_python([{}, {"address": "a@b.example", "adress": "secret"}, "secret"])
    said = mistakes(wrong.value)
    assert said == {"0.address": "missing", "1.adress": "unknown here", "2": "not an object"}


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_no_kind_of_mistake_is_told_in_the_words_of_pydantic(kind: str) -> None:
    context: dict[str, Any] = dict.fromkeys(_OF_CONTEXTS, 7)
    said = mistake_words(ErrorDetails(type=kind, loc=(), msg="Input should be", input=None, ctx=context))
    assert not _OF_PYDANTIC.search(said)


@given(st.data())
def test_no_model_of_a_topic_tells_a_mistake_in_the_words_of_pydantic(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from([model for topic in TOPICS for model in topic.models]))
    fields = st.fixed_dictionaries({}, optional=dict.fromkeys(model.model_fields, _JSON))
    try:
        model.model_validate(data.draw(fields))
    except ValidationError as error:
        for words in mistakes(error).values():
            assert not _OF_PYDANTIC.search(words), words
