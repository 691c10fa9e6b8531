"""The engine against the slow model: drawn rules over drawn histories, the same decisions in the same order."""

from datetime import datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slow_model.duel import EngineRun, book_of, edited_evaluator, evaluator_of, model_rows
from slow_model.grammar import editions, rule_sets
from slow_model.histories import Happening, gaps, histories

History = tuple[datetime, Happening, list[Happening]]
_LOOKS_MS = 1_800_000
half = settings().max_examples // 2  # of what the profile says: each example is a whole history
unhurried = settings(deadline=None, max_examples=half, suppress_health_check=[HealthCheck.too_slow])


def duel(text: str, history: History, every_ms: int | None) -> None:
    start, profile, happenings = history
    run = EngineRun(evaluator_of(text), every_ms)
    run.play(start, [profile, *happenings])
    assert run.rows == model_rows(run, book_of(text))


@unhurried
@given(rule_sets(), histories)
def test_timers_at_their_instants_give_what_the_slow_model_says(text: str, history: History) -> None:
    duel(text, history, None)


@unhurried
@given(rule_sets(), histories)
def test_timers_that_come_late_give_what_the_slow_model_says(text: str, history: History) -> None:
    duel(text, history, _LOOKS_MS)


@unhurried
@given(editions(), histories, gaps, st.integers(0, 6))
def test_an_edited_rule_leaves_what_runs_as_the_slow_model_says(
    texts: tuple[str, str], history: History, gap_ms: int, number: int
) -> None:
    start, profile, happenings = history
    run = EngineRun(evaluator_of(texts[0]), None)
    run.edited = edited_evaluator(*texts)
    happenings.insert(min(number, len(happenings)), Happening(gap_ms, "edit"))
    run.play(start, [profile, *happenings])
    assert run.rows == model_rows(run, *map(book_of, texts))
