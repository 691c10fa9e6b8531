"""What other rules would say of refusals and bounces that are recorded. Reads the hypertables, and writes nothing."""

from dataclasses import dataclass
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


_RECORDED = """
SELECT kind, code, enhanced, coalesce(reply, '') AS text, classification AS was, coalesce(hard, false) AS hard,
       count(*) AS times
FROM (SELECT kind, code, enhanced, reply, classification, hard FROM deliveries
      WHERE time > now() - make_interval(days => %(days)s) AND code >= 400
      UNION ALL
      SELECT kind, code, enhanced, reply, classification, hard FROM engagement
      WHERE time > now() - make_interval(days => %(days)s) AND kind = 'bounced' AND code IS NOT NULL) AS recorded
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY times DESC, 2, 3, 4
"""


def differences(connection: Connection[Any], classifier: Classifier, days: int) -> Comparison:
    """Judge the replies of the last days again.

    The command that a reply answered is not recorded. A reply that was judged as one to MAIL is judged so again.
    """
    cursor = connection.cursor(row_factory=class_row(RecordedReply))
    recorded = cursor.execute(_RECORDED, {"days": days}).fetchall()
    different = [
        Difference(reply, judgment)
        for reply in recorded
        if ((judgment := _again(reply, classifier)).bounce_class, judgment.hard) != (reply.was, reply.hard)
    ]
    return Comparison(sum(reply.times for reply in recorded), len(recorded), different)


def _again(reply: RecordedReply, classifier: Classifier) -> Judgment:
    if reply.kind == "bounced":
        return classifier.classify(Refusal(reply.text, reply.code, reply.enhanced, Stage.REPORT))
    judgments = [
        classifier.classify(Refusal(reply.text, reply.code, reply.enhanced, stage))
        for stage in (Stage.RCPT, Stage.DATA, Stage.MAIL)
    ]
    return next((each for each in judgments if each.bounce_class == reply.was), judgments[0])
