"""What shadow would have sent beside what live sent, from the table of decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, LiteralString

from schemas.errors import UserError
from schemas.vocabulary import DecisionOutcome
from schemas.wording import closest

if TYPE_CHECKING:
    from psycopg import Connection

SAMPLE = 5
"""Users to look at, of each kind."""
_WOULD = (DecisionOutcome.SHADOW, DecisionOutcome.SEND)
_NAMES: LiteralString = "SELECT DISTINCT trigger FROM public.decisions WHERE time >= %(since)s AND time < %(until)s"
_SIDES: LiteralString = """
WITH shown AS (
    SELECT user_id, time, id, trigger, outcome, coalesce(reason, '') AS reason,
           trigger = %(shadow)s AND outcome = ANY(%(would)s) AS would,
           trigger = %(live)s AND outcome = 'send' AS did
    FROM public.decisions
    WHERE trigger IN (%(shadow)s, %(live)s) AND time >= %(since)s AND time < %(until)s
), users AS (
    SELECT user_id, count(*) FILTER (WHERE would) AS would, count(*) FILTER (WHERE did) AS did
    FROM shown GROUP BY user_id
)
"""
_DAYS: LiteralString = """
SELECT (time AT TIME ZONE 'UTC')::date AS day, count(*) FILTER (WHERE would), count(*) FILTER (WHERE did)
FROM shown WHERE would OR did GROUP BY day ORDER BY day
"""
_USERS: LiteralString = """
SELECT count(*) FILTER (WHERE would > 0 AND did > 0), count(*) FILTER (WHERE would > 0 AND did = 0),
       count(*) FILTER (WHERE would = 0 AND did > 0), count(*) FILTER (WHERE would > did),
       count(*) FILTER (WHERE would < did)
FROM users WHERE would > 0 OR did > 0
"""
_DECISIONS: LiteralString = """
SELECT trigger, outcome, reason, count(*), count(DISTINCT user_id)
FROM shown GROUP BY trigger, outcome, reason ORDER BY trigger, outcome, reason
"""
_INSTEAD: LiteralString = """
, alone AS (
    SELECT user_id, would > 0 AS of_shadow FROM users WHERE (would > 0) <> (did > 0)
), last AS (
    SELECT DISTINCT ON (alone.user_id) alone.user_id, outcome, reason
    FROM alone JOIN shown ON shown.user_id = alone.user_id
                         AND shown.trigger = CASE WHEN of_shadow THEN %(live)s ELSE %(shadow)s END
    ORDER BY alone.user_id, time DESC, id DESC
)
SELECT of_shadow, coalesce(outcome, ''), coalesce(reason, ''), count(*)
FROM alone LEFT JOIN last USING (user_id) GROUP BY 1, 2, 3 ORDER BY 1 DESC, 4 DESC, 2, 3
"""
_SAMPLE: LiteralString = """
SELECT user_id FROM users WHERE (would > 0) = %(of_shadow)s AND (did > 0) = %(of_live)s ORDER BY user_id LIMIT %(some)s
"""


class NothingToCompare(UserError):
    """The trigger decided nothing in the time, or has one side only."""

    exit_status = 1


@dataclass(frozen=True, slots=True)
class ComparedUsers:
    """How many users get mails by both sides or by one, and how many get more or fewer of shadow's."""

    both: int
    only_shadow: int
    only_live: int
    more: int
    fewer: int


@dataclass(frozen=True, slots=True)
class InsteadDecision:
    """Of users whom one side alone would mail: what the other side decided about them last. Without an outcome it
    decided nothing."""

    of_shadow: bool
    outcome: str
    reason: str
    users: int


@dataclass(frozen=True, slots=True)
class ShadowComparison:
    """Two triggers, or shadow and live of one, over the same time. `shadow` counts what would have been sent."""

    shadow: str
    live: str
    since: datetime
    until: datetime
    days: Sequence[tuple[date, int, int]]
    users: ComparedUsers
    decisions: Sequence[tuple[str, str, str, int, int]]
    """Trigger, outcome, reason, decisions and users."""
    instead: Sequence[InsteadDecision]
    sample: Mapping[str, Sequence[str]]

    @property
    def is_one(self) -> bool:
        """Whether both sides are of one trigger, as while it is a canary."""
        return self.shadow == self.live

    @property
    def would(self) -> int:
        """How many mails the shadow side would have sent."""
        return sum(would for _, would, _ in self.days)

    @property
    def did(self) -> int:
        """How many mails the live side sent."""
        return sum(did for _, _, did in self.days)


def read_comparison(
    connection: "Connection[Any]", shadow: str, live: str, since: datetime, until: datetime
) -> ShadowComparison:
    """Compares two triggers, or shadow and live of one; raises NothingToCompare.

    Of another trigger than `live`, what it sent as a canary counts as what it would have sent.
    """
    one = shadow == live
    would = [str(each) for each in _WOULD[: 1 if one else 2]]
    values = {"shadow": shadow, "live": live, "would": would, "since": since, "until": until}
    decisions = _rows(connection, _DECISIONS, values)
    for name in (shadow, live):
        if all(trigger != name for trigger, *_ in decisions):
            raise NothingToCompare(_nothing(connection, name, values))
    outcomes = {outcome for _, outcome, *_ in decisions}
    if one and DecisionOutcome.SEND in outcomes and DecisionOutcome.SHADOW not in outcomes:
        raise NothingToCompare(f"{live} has only run live since {_minute(since)}; name the rule beside it by --with")
    [users] = _rows(connection, _USERS, values)
    kinds = {"both": (True, True), "only_shadow": (True, False), "only_live": (False, True)}
    return ShadowComparison(
        shadow,
        live,
        since,
        until,
        _rows(connection, _DAYS, values),
        ComparedUsers(*users),
        decisions,
        [] if one else [InsteadDecision(*row) for row in _rows(connection, _INSTEAD, values)],
        {kind: _sample(connection, values, *sides) for kind, sides in kinds.items()},
    )


def _rows(connection: "Connection[Any]", query: LiteralString, values: Mapping[str, Any]) -> list[Any]:
    return connection.execute(_SIDES + query, values).fetchall()


def _sample(connection: "Connection[Any]", values: Mapping[str, Any], of_shadow: bool, of_live: bool) -> list[str]:
    more = {"of_shadow": of_shadow, "of_live": of_live, "some": SAMPLE}
    return [user for (user,) in _rows(connection, _SAMPLE, {**values, **more})]


def _nothing(connection: "Connection[Any]", name: str, values: Mapping[str, Any]) -> str:
    known = [each for (each,) in connection.execute(_NAMES, values)]
    like = closest(name, known)
    hint = f"did you mean {like}?" if like else "an earlier --since may have more"
    return f"no decision of {name!r} since {_minute(values['since'])}; {hint}"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
