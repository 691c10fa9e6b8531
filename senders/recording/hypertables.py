"""The three hypertables: which facts each has, and how they are counted."""

from senders.recording import counting, mails, rows
from senders.recording.tables import Hypertable

DECISIONS = Hypertable(
    "decisions",
    rows.DECISION,
    rows.of_decision,
    read="""time, user_id, trigger, step, coalesce(variant, inputs ->> 'variant') AS variant, outcome, reason,
            command_id, CASE outcome WHEN 'goal' THEN (inputs ->> 'sent_at')::timestamptz END AS sent_at""",
    own_time=counting.DECISIONS,
    by_send=[
        mails.counted(mails.SAID_BY_GOALS, counting.REACHED),
        counting.GOALS.added(f"fresh WHERE {counting.REACHED}"),
    ],
)
DELIVERIES = Hypertable(
    "deliveries",
    rows.DELIVERY,
    rows.of_delivery,
    read="""time, command_id, user_id, trigger, purpose, step, variant, brand, decided_at, kind, provider,
            classification, attempt""",
    own_time=counting.DELIVERIES,
    by_send=[mails.counted(mails.SAID_BY_DELIVERIES, mails.OF_MAILS_ONLY)],
)
ENGAGEMENT = Hypertable(
    "engagement",
    rows.ENGAGEMENT,
    rows.of_engagement,
    read="""time, command_id, user_id, trigger, purpose, step, variant, brand, decided_at, kind, machine, evidence""",
    own_time=counting.ENGAGEMENT,
    by_send=[mails.counted(mails.SAID_BY_ENGAGEMENT)],
)
ALL = (DECISIONS, DELIVERIES, ENGAGEMENT)
