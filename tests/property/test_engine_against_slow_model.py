"""The engine against the slow model: drawn rules over drawn histories, the same decisions in the same order."""

from datetime import datetime

from hypothesis import HealthCheck, given, settings
from slow_model.duel import EngineRun, book_of, evaluator_of, model_rows
from slow_model.grammar import FEATURES, Happening, histories, rule_sets

History = tuple[datetime, Happening, list[Happening]]
_LOOKS_MS = 1_800_000


def duel(text: str, history: History, every_ms: int | None) -> None:
    start, profile, happenings = history
    run = EngineRun(evaluator_of(text), every_ms)
    run.play(start, [profile, *happenings])
    assert run.rows == model_rows(book_of(text), run)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rule_sets(), histories)
def test_timers_at_their_instants_give_what_the_slow_model_says(text: str, history: History) -> None:
    duel(text, history, None)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rule_sets(), histories)
def test_timers_that_come_late_give_what_the_slow_model_says(text: str, history: History) -> None:
    duel(text, history, _LOOKS_MS)


def test_what_the_engine_does_not_have_yet_is_not_drawn() -> None:
    assert {feature for feature, is_there in FEATURES.items() if not is_there} == {*FEATURES}
