"""What the kill switch says of a scope: one that rules do not name, and one that was paused or not."""

from datetime import UTC, datetime

import pytest

from cli.operations.control import unknown_words
from cli.operations.switch_commands import done_words
from schemas.rules import Control

KNOWN = {"trigger/watch", "trigger/thanks", "purpose/thanks", "brand/harbour", "global"}
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PAUSED = Control(number=1, scope="global", paused=True, at=NOW)
RESUMED = Control(number=2, scope="global", paused=False, at=NOW)


@pytest.mark.parametrize(
    ("scope", "hint"),
    [
        ("trigger/thansk", "no trigger 'thansk' in the current rules; did you mean trigger/thanks?"),
        ("trigger/nope", "no trigger 'nope' in the current rules; known: trigger/thanks, trigger/watch"),
        ("brand/thansk", "no brand 'thansk' in the current rules; known: brand/harbour"),
        ("endpoint/crm", "no endpoint 'crm' in the current rules; known: none"),
    ],
)
def test_the_kind_of_a_scope_makes_no_name_more_alike(scope: str, hint: str) -> None:
    assert unknown_words(scope, KNOWN) == hint


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (PAUSED, "global is resumed"),
        (None, "global was not paused; it is resumed all the same"),
        (RESUMED, "global was not paused; it is resumed all the same"),
        (PAUSED.model_copy(update={"until": NOW}), "global was not paused; it is resumed all the same"),
    ],
)
def test_a_resume_says_whether_there_was_a_pause(before: Control | None, words: str) -> None:
    assert done_words(RESUMED, before) == words
