"""What other rules would say of refusals and bounces that are recorded. Reads, and writes nothing.

The ledger has the refusals of the last weeks, each with the command that it answered; the hypertables have older ones,
and what came back by mail.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from senders.bounces.classifier import Classifier, Judgment
from senders.bounces.refusal import Refusal, Stage


@dataclass(frozen=True, slots=True)
class RecordedReply:
    """Replies of the same words and codes, and how they were judged."""

    kind: str
    code: int
    enhanced: str | None
    text: str
    answered: str | None
    """The command that it answered, if the ledger knows it."""
    was: str | None
    hard: bool
    times: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A recorded reply that would be judged otherwise."""

    reply: RecordedReply
    judgment: Judgment

    def as_json(self) -> dict[str, Any]:
        """The difference as one flat object."""
        reply, now = self.reply, self.judgment
        return {
            "times": reply.times,
            "kind": reply.kind,
            "code": reply.code,
            "enhanced": reply.enhanced,
            "text": reply.text,
            "answered": reply.answered,
            "was": reply.was,
            "was_hard": reply.hard,
            "now": now.bounce_class,
            "now_hard": now.hard,
            "rule": now.rule or None,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many replies were judged again, in how many kinds, and which kinds differ."""

    times: int
    kinds: int
    different: list[Difference]


IN_LEDGER = timedelta(days=34)
"""The ledger has every outcome of this time. It may have older ones, which the hypertables have too."""
AT_ONCE = 1000
"""How many kinds of replies are in memory."""

_KEY = "kind, code, enhanced, coalesce(reply, '') AS text, answered, was, coalesce(hard, false) AS hard"
_OF_LEDGER = f"""
SELECT {_KEY}, count(*) AS times
FROM (SELECT o.state AS kind, o.reason AS was, o.hard, way.path::json ->> 'answered' AS answered,
             (o.reply::json ->> 'code')::int AS code, o.reply::json ->> 'enhanced' AS enhanced,
             o.reply::json ->> 'text' AS reply
      FROM ledger_outcomes AS o LEFT JOIN ledger_paths AS way ON way.number = o.path
      WHERE o.recorded_at > now() - least(%(since)s, %(in_ledger)s)
            AND o.reply IS NOT NULL AND o.state <> 'accepted' AND o.channel = 'email') AS recorded
WHERE code >= 400 GROUP BY 1, 2, 3, 4, 5, 6, 7
"""  # noqa: S608  # no value is put into the text
_OF_HYPERTABLES = f"""
SELECT {_KEY}, count(*) AS times
FROM (SELECT kind, code, enhanced, reply, NULL AS answered, classification AS was, hard FROM deliveries
      WHERE time > now() - %(since)s AND time <= now() - %(in_ledger)s AND code >= 400
            AND provider IS DISTINCT FROM 'webhook'
      UNION ALL
      SELECT kind, code, enhanced, reply, NULL, classification, hard FROM engagement
      WHERE time > now() - %(since)s AND kind = 'bounced' AND code IS NOT NULL) AS recorded
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""  # noqa: S608  # no value is put into the text
STAGES = {"mail": Stage.MAIL, "rcpt": Stage.RCPT, "data": Stage.DATA, "dot": Stage.DATA}
"""What a reply answered, as the ledger has it, and as rules tell it apart."""


def differences(
    ledger: Connection[Any], database: Connection[Any], classifier: Classifier, since: timedelta
) -> Comparison:
    """Judge the replies of this time again, the most frequent first.

    Where the command that a reply answered is not known, a reply that was judged as one to MAIL is judged so again.
    """
    times = kinds = 0
    different: list[Difference] = []
    for reply in _recorded(ledger, database, {"since": since, "in_ledger": IN_LEDGER}):
        times, kinds = times + reply.times, kinds + 1
        judgment = _again(reply, classifier)
        if (judgment.bounce_class, judgment.hard) != (reply.was, reply.hard):
            different.append(Difference(reply, judgment))
    different.sort(key=lambda each: (-each.reply.times, each.reply.code, each.reply.enhanced or "", each.reply.text))
    return Comparison(times, kinds, different)


def _recorded(
    ledger: Connection[Any], database: Connection[Any], parameters: dict[str, timedelta]
) -> Iterator[RecordedReply]:
    """The replies in parts: servers that put an id into each make as many kinds as there are mails."""
    for connection, query in ((ledger, _OF_LEDGER), (database, _OF_HYPERTABLES)):
        with connection.cursor("replies", row_factory=class_row(RecordedReply)) as cursor:
            cursor.itersize = AT_ONCE
            yield from cursor.execute(query, parameters)


def _again(reply: RecordedReply, classifier: Classifier) -> Judgment:
    if reply.kind == "bounced":
        return classifier.classify(Refusal(reply.text, reply.code, reply.enhanced, Stage.REPORT))
    stage = STAGES.get(reply.answered or "")
    if stage is not None:
        return classifier.classify(Refusal(reply.text, reply.code, reply.enhanced, stage))
    judgments = [
        classifier.classify(Refusal(reply.text, reply.code, reply.enhanced, stage))
        for stage in (Stage.RCPT, Stage.DATA, Stage.MAIL)
    ]
    return next((each for each in judgments if each.bounce_class == reply.was), judgments[0])
