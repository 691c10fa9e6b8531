"""Days as options say them, in UTC."""

from datetime import UTC, date, datetime, time, timedelta

import typer


def day_of(text: str, option: str) -> date:
    """The day; raises BadParameter."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day such as 2026-03-01", param_hint=option) from None


def midnight(text: str, option: str) -> datetime:
    """The beginning of the day; raises BadParameter."""
    return datetime.combine(day_of(text, option), time(), UTC)


def begin_of(text: str, option: str, now: datetime) -> datetime:
    """The instant so long before now, as in 30d, or the beginning of the day; raises BadParameter."""
    from senders.shaping.quantities import parse_duration

    try:
        length = parse_duration(text)
    except ValueError:
        length = timedelta(0)
    if length > timedelta(0):
        return now - length
    try:
        return midnight(text, option)
    except typer.BadParameter:
        raise typer.BadParameter(
            f"{text!r} is neither a time such as 30d nor a day such as 2026-03-01", param_hint=option
        ) from None
