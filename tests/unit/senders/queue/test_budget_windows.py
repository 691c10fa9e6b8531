"""What a budget's window has used: of each length, over its edges, and when there is room again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.budgets import Budget
from senders.queue.budget_windows import PARTS, part_of, room_at, standing, used

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOUR = Budget(name="trigger/t", max=3, per_ms=3_600_000)


def calendar(unit: str, zone: str = "Europe/Berlin", most: int = 3) -> Budget:
    return Budget.model_validate({"name": "policy/p", "max": most, "unit": unit, "zone": zone})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def counted(budget: Budget, *instants: datetime) -> dict[int, int]:
    counts: dict[int, int] = {}
    for instant in instants:
        part = part_of(budget, instant)
        counts[part] = counts.get(part, 0) + 1
    return counts


def test_a_command_counts_for_its_window_and_at_most_a_sixtieth_longer() -> None:
    counts = counted(HOUR, NOON)
    assert used(HOUR, counts, NOON + timedelta(hours=1) - timedelta(milliseconds=1)) == 1
    assert used(HOUR, counts, NOON + timedelta(minutes=61)) == 0


@pytest.mark.parametrize(
    ("unit", "counted_at", "still", "no_more"),
    [
        ("day", "2026-11-28 23:00", "2026-11-29 22:59:59.999", "2026-11-29 23:00"),
        ("week", "2026-11-29 22:59", "2026-11-29 22:59:59.999", "2026-11-29 23:00"),
        ("month", "2026-10-31 23:00", "2026-11-30 22:59:59.999", "2026-11-30 23:00"),
        ("day", "2026-10-24 22:00", "2026-10-25 22:59:59.999", "2026-10-25 23:00"),
    ],
)
def test_a_calendar_window_is_one_of_the_zone(unit: str, counted_at: str, still: str, no_more: str) -> None:
    budget = calendar(unit)
    counts = counted(budget, at(counted_at))
    assert (used(budget, counts, at(still)), used(budget, counts, at(no_more))) == (1, 0)
    full = counted(budget, *[at(counted_at)] * 3)
    assert room_at(budget, full, at(counted_at)) == at(no_more)


def test_a_zone_that_nobody_knows_is_utc() -> None:
    assert part_of(calendar("day", "Mars/Olympus"), at("2026-11-28 23:30")) == at("2026-11-28 00:00").toordinal()


def test_what_a_clock_ahead_has_counted_stays_in_the_window() -> None:
    for budget in (HOUR, calendar("day")):
        assert used(budget, counted(budget, NOON + timedelta(days=2)), NOON) == 1


def test_a_budget_of_nothing_never_has_room() -> None:
    assert room_at(Budget(name="trigger/t", max=0, per_ms=1), {}, NOON) is None


def test_room_comes_when_enough_of_the_window_has_left() -> None:
    instants = [NOON, NOON + timedelta(minutes=10), NOON + timedelta(minutes=20)]
    counts = counted(HOUR, *instants)
    assert room_at(HOUR, counts, NOON + timedelta(minutes=30)) == NOON + timedelta(minutes=61)
    two = HOUR.model_copy(update={"max": 2})
    assert room_at(two, counts, NOON + timedelta(minutes=30)) == NOON + timedelta(minutes=71)
    assert room_at(HOUR, {}, NOON) == NOON


@given(
    per_ms=st.integers(1, 400 * 86_400_000),
    most=st.integers(1, 5),
    gaps=st.lists(st.floats(0, 1), min_size=1, max_size=40),
)
def test_no_window_has_more_than_the_maximum_and_a_sixtieth_more_time_has_room(
    per_ms: int, most: int, gaps: list[float]
) -> None:
    budget = Budget(name="trigger/t", max=most, per_ms=per_ms)
    now_ms, counts, let_through = 1_800_000_000_000, dict[int, int](), list[int]()
    slack_ms = -(-per_ms // PARTS)
    for gap in gaps:
        now_ms += round(gap * per_ms / 2)
        now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now_ms)
        counts = dict(standing(budget, counts, now))
        assert len(counts) <= PARTS + 2
        has_room = used(budget, counts, now) < most
        if has_room:
            part = part_of(budget, now)
            counts[part] = counts.get(part, 0) + 1
            let_through.append(now_ms)
        window = [each for each in let_through if each > now_ms - per_ms]
        assert len(window) <= most
        longer = [each for each in let_through if each > now_ms - per_ms - slack_ms]
        assert has_room or len(longer) >= most
        ready = room_at(budget, counts, now)
        assert ready is not None
        assert used(budget, counts, ready) < most
