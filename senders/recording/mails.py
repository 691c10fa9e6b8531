"""The SQL that counts each mail once, by the time of its send. Pure.

The row of a command in `mails` is the least upper bound of what its facts say: the earliest times, the greatest names
(so a known one replaces ''), and all that was ever seen. So it is the same in whichever order they come, and however
often. What a mail adds to the rollups follows from its row alone. A change of the row takes away what the old one added
and adds what the new one does.

Recorders take turns by a lock. An erasure does not: the user that it takes out of a row stays out, even if a recorder
had read the row before.
"""

from collections.abc import Mapping

from senders.recording.counting import Rollup
from senders.recording.seen import COUNTS, OF_DELIVERY, OF_ENGAGEMENT, Seen

_NAMES = ("user_id", "trigger", "step", "variant", "purpose", "brand", "provider")
_TIMES = ("decided_at", "accepted_at", "clicked_at")
_STATE = (*_TIMES, "seen", *_NAMES)
_KEYS = ("trigger", "step", "variant", "purpose", "brand", "provider")
_BY = ", ".join(("sent", *_KEYS, "seen", "acceptance", "click"))
_SENT = "coalesce({0}decided_at, {0}accepted_at, 'epoch')"
_POWERS = ", ".join(str(1 << power) for power in range(31))


def _case(bits: Mapping[str, Seen], more: str = "") -> str:
    plain = " ".join(f"WHEN '{kind}' THEN {int(bit)}" for kind, bit in bits.items())
    return f"CASE kind {plain}{more} ELSE 0 END"


def _by_actor(kind: str) -> str:
    person, unknown, proxy, machine = (
        int(Seen[f"{kind.upper()}_BY_{actor}"]) for actor in ("PERSON", "UNKNOWN", "PROXY", "MACHINE")
    )
    return (
        f" WHEN '{kind}' THEN CASE machine WHEN false THEN {person} WHEN true THEN {machine}"
        f" ELSE CASE WHEN evidence = 'proxy' THEN {proxy} ELSE {unknown} END END"
    )


SAID_BY_DELIVERIES = {
    "decided_at": "min(decided_at)",
    "accepted_at": "min(time) FILTER (WHERE kind = 'accepted')",
    "clicked_at": "NULL::timestamptz",
    "seen": _case(OF_DELIVERY),
    "provider": "max(provider)",
}
"""What the new rows say of a command: column of `mails` -> expression over them, for `seen` over one of them."""
OF_MAILS_ONLY = "provider IS DISTINCT FROM 'webhook'"
"""Which rows of deliveries are about mails."""
SAID_BY_ENGAGEMENT = {
    "decided_at": "min(decided_at)",
    "accepted_at": "NULL::timestamptz",
    "clicked_at": "min(time) FILTER (WHERE kind = 'clicked' AND machine IS FALSE)",
    "seen": _case(OF_ENGAGEMENT, _by_actor("opened") + _by_actor("clicked")),
    "provider": "''",
}
SAID_BY_GOALS = {
    "decided_at": "min(sent_at)",
    "accepted_at": "NULL::timestamptz",
    "clicked_at": "NULL::timestamptz",
    "seen": str(int(Seen.CONVERTED)),
    "provider": "''",
    "purpose": "''",
    "brand": "''",
}


def counted(said: Mapping[str, str], where: str = "true") -> str:
    """The parts of a WITH that join what the rows of `fresh` say to `mails`, and count the difference."""
    names = {name: f"max(coalesce({name}, ''))" for name in _NAMES}
    names |= {**said, "seen": "bit_or(bit)"}
    return f"""
        said AS (
            SELECT command, {", ".join(f"{names[name]} AS {name}" for name in _STATE)}
            FROM (SELECT *, ledger_key(command_id) AS command, {said["seen"]} AS bit FROM fresh WHERE {where}
                  OFFSET 0) AS each
            WHERE command IS NOT NULL AND bit <> 0 GROUP BY command
        ), joined AS (
            SELECT said.command, {_joined()}, {", ".join(f"known.{name} AS was_{name}" for name in _STATE)}
            FROM said LEFT JOIN mails AS known USING (command)
        ), changed AS (
            SELECT * FROM joined
            WHERE ({", ".join(_STATE)}) IS DISTINCT FROM ({", ".join(f"was_{name}" for name in _STATE)})
        ), new_mails AS (
            INSERT INTO mails (command, sent, {", ".join(_STATE)})
            SELECT command, {_SENT.format("")}, {", ".join(_STATE)} FROM changed WHERE was_seen IS NULL
        ), known_mails AS (
            UPDATE mails SET sent = {_SENT.format("changed.")},
                {", ".join(f"{name} = changed.{name}" for name in _STATE if name != "user_id")},
                user_id = CASE mails.user_id WHEN was_user_id THEN changed.user_id ELSE mails.user_id END
            FROM changed WHERE mails.command = changed.command AND was_seen IS NOT NULL
        ), credits AS (
            SELECT {_BY}, sum(sign)::integer AS mails
            FROM (SELECT {_credit("")}, 1 AS sign FROM changed
                  UNION ALL
                  SELECT {_credit("was_")}, -1 FROM changed WHERE was_seen IS NOT NULL) AS each
            GROUP BY {_BY} HAVING sum(sign) <> 0
        ), {CREDITED}"""  # noqa: S608  # of our own names


def _joined() -> str:
    times = [f"least(said.{name}, known.{name}) AS {name}" for name in _TIMES]
    names = [f"greatest(said.{name}, known.{name}) AS {name}" for name in _NAMES]
    return ", ".join([*times, "said.seen | coalesce(known.seen, 0) AS seen", *names])


def _credit(prefix: str) -> str:
    """What a mail counts by."""
    keys = ", ".join(f"{prefix}{key} AS {key}" for key in _KEYS)
    return f"""time_bucket('1 hour', {_SENT.format(prefix)}) AS sent, {keys}, {prefix}seen AS seen,
               {_power(f"{prefix}decided_at", f"{prefix}accepted_at")} AS acceptance,
               {_power(f"{prefix}accepted_at", f"{prefix}clicked_at")} AS click"""


def _power(since: str, until: str) -> str:
    """The power of two above the seconds between two times; null without both."""
    return f"width_bucket(date_part('epoch', {until} - {since}), ARRAY[{_POWERS}]::float8[])"


_OF_CREDIT = {"sent": "sent", **{key: key for key in _KEYS}}
MAILS = Rollup(
    "mails",
    _OF_CREDIT,
    {name: f"sum(CASE WHEN seen & {int(bits)} <> 0 THEN mails ELSE 0 END)" for name, bits in COUNTS.items()},
)
DELAYS = Rollup(
    "delays",
    {
        **_OF_CREDIT,
        "step": "''",
        "variant": "''",
        "provider": "''",
        "measure": "measure",
        "seconds_below": "power(2::float8, power)",
    },
    {"mails": "sum(mails)"},
)
"""By trigger and purpose alone: with all names it would have as many rows as mails."""
CREDITED = f"""{MAILS.added("credits")}, {
    DELAYS.added(
        "credits, LATERAL (VALUES ('acceptance', acceptance), ('click', click)) AS of (measure, power) "
        "WHERE power IS NOT NULL"
    )
}"""
"""The parts of a WITH that add `credits`: mails by what they count by."""
OF_MAILS = f"""credits AS (
    SELECT {_BY}, count(*)::integer AS mails
    FROM (SELECT {_credit("")} FROM mails WHERE sent >= %(since)s AND sent < %(until)s) AS each GROUP BY {_BY}
), {CREDITED}"""  # noqa: S608  # of our own names
"""The same for all mails of a time."""
