"""The documents of a rule file, with their keys, each declared once."""

from collections.abc import Mapping

from schemas.commands import DEFAULT_PRIORITY, MAX_PRIORITY
from schemas.endpoints import MAX_HEADERS, MAX_RETRIES, MAX_SECRETS, METHODS
from triggers.language.declarations import Key, RecordShape
from triggers.language.shape_keys import DISTINCT, EVENT, SCORE_NUMBER, SUM, WHERE

_CAP = Key("cap", "[CAP]", "how many sends a window of time allows.")
_QUIET = Key("quiet", "[PERIOD]", "when nothing goes out.")
_HOLDOUT = Key("holdout", "PERCENT", "this share of users passes every gate, and is recorded instead of mailed.", "0%")
_BUDGET = Key("budget", "BUDGET", "how many commands go out in a window, over all users. Delivery holds the others.")

TRIGGER = RecordShape(
    "A rule: what begins it, what ends it, and what it sends.",
    (
        Key("trigger", "NAME", "the rule's name.", required=True),
        Key("owner", "TEXT", "the person or team responsible."),
        Key("description", "TEXT", "why the rule exists."),
        Key("mode", "MODE", "what a passed decision does; a change takes effect at once.", "live"),
        Key("purpose", "NAME", "the consent it needs; `transactional` needs none.", required=True),
        Key("brand", "NAME", "the sender's identity; consent is then for `brand/purpose`.", absent="none"),
        Key("on", "[SOURCE]", "what begins an occurrence: any of several sources.", required=True),
        Key(
            "key",
            "[EXPR]",
            "what an occurrence is about. At most one runs for a user and key.",
            absent="each entry is its own",
        ),
        Key(
            "overlap",
            "restart | ignore | gather",
            "a new entry while its key runs: start over with it, drop it, or add it to `occurrence.events`.",
            "restart",
        ),
        Key(
            "reentry",
            "always | never | DURATION",
            "how long after its last entry an ended key may enter again.",
            "always",
        ),
        Key("after", "WAIT", "the delay before the first step, counted from the entry event's time.", "0s"),
        Key("unless", "[PATTERN]", "ends the occurrence at any moment up to and including the last send."),
        Key("when", "EXPR", "evaluated at every send, at the moment of its decision.", "true"),
        _CAP,
        _BUDGET,
        _QUIET,
        Key("expires", "DURATION", "a send that is not decided this long after it was due is dropped.", "1d"),
        Key("max_age", "DURATION", "checked at entry: an older event changes state and begins nothing.", "24h"),
        Key("settle", "DURATION", "decides this much later than due, so that late events still count.", "0s"),
        Key(
            "priority",
            f"0..{MAX_PRIORITY}",
            "of sends due at one instant for one user, the higher goes first.",
            f"{DEFAULT_PRIORITY}",
        ),
        _HOLDOUT,
        Key("experiment", "EXPERIMENT", "gives each user a variant, always the same one: `occurrence.variant`."),
        Key("goal", "GOAL", "counted after each send or holdout; it measures and stops nothing."),
        Key("send", "SEND", "the only message."),
        Key("steps", "list STEP", "a journey with several steps.", size=(1, 50)),
        Key(
            "on_edit",
            "pin | follow",
            "what an edit does to running occurrences: they keep the text they began with, or follow the newest.",
            "pin",
        ),
        Key("cases", "list CASE", "examples that `ebbtide test` runs."),
    ),
    (("send", "steps"),),
)
SCORE = RecordShape(
    "A number for each user that events raise and time lowers.",
    (
        Key("score", "IDENTIFIER", "the score's name: `score.NAME` in expressions.", required=True),
        Key("decay", "DECAY", "how it fades.", required=True),
        Key("add", "[ADDITION]", "what raises it, and by how much.", required=True),
        Key("ceiling", SCORE_NUMBER, "the most it can be, applied after each addition.", absent="none"),
    ),
)
METRIC = RecordShape(
    "A count for each user over a window, which expressions read.",
    (
        Key("metric", "IDENTIFIER", "its name: `metric.NAME.count .sum .distinct .first .last`.", required=True),
        EVENT,
        WHERE,
        Key("within", "WINDOW | ever", "the length of the window.", required=True),
        SUM,
        DISTINCT,
    ),
)
SEGMENT = RecordShape(
    "A group of users by a condition. Entering or leaving it can begin a rule.",
    (
        Key("segment", "IDENTIFIER", "its name: `segment.NAME` is true or false.", required=True),
        Key(
            "when",
            "EXPR",
            "over `user`, `score`, `metric` and `now`. Evaluated again when one of them may have changed.",
            required=True,
        ),
    ),
)
POLICY = RecordShape(
    "What rules of a purpose, brand or channel obey besides their own keys.",
    (
        Key("policy", "NAME", "the policy's name.", required=True),
        Key("for", "FOR", "the rules that obey: all that is given must match. `{}` is every rule.", required=True),
        _CAP,
        _BUDGET,
        _QUIET,
        _HOLDOUT,
        Key("expires", "DURATION", "the smallest of the rule's and its policies' holds."),
    ),
)
BRAND = RecordShape(
    "A sender's identity. Its rules need the consent `brand/purpose`, and no other.",
    (
        Key("brand", "NAME", "its name, without `/` and `:`, at most 63 characters.", required=True),
        Key("from", "MAILBOX", "the sender of its mails; a template's own `from` goes before it.", required=True),
        Key("reply_to", "MAILBOX", "where answers go; a template's own `reply_to` goes before it."),
        Key("dkim", "DKIM", "the key that signs its mails.", absent="those of the sender's domain"),
        Key(
            "list_id",
            "DOMAIN",
            "the domain under which its lists are named: `PURPOSE.DOMAIN` in List-Id.",
            absent="the signing domain",
        ),
        Key("templates", "NAME", "a folder; its templates go before those of the same name elsewhere.", absent="none"),
    ),
)

ENDPOINT = RecordShape(
    "Where webhooks go: a URL, with its secrets and limits.",
    (
        Key("endpoint", "NAME", "the endpoint's name.", required=True),
        Key("url", "URL", "where the requests go.", required=True),
        Key("method", " | ".join(METHODS), "the request's method.", "post"),
        Key(
            "secrets",
            "[NAME]",
            "the secrets that sign each request; two while one is exchanged for the other.",
            size=(1, MAX_SECRETS),
            required=True,
        ),
        Key("headers", "map HEADER", "more headers.", size=(0, MAX_HEADERS)),
        Key("timeout", "DURATION", "how long an answer may take.", "15s"),
        Key("retries", f"0..{MAX_RETRIES}", "how often a request is sent again that was not taken.", "12"),
        Key("rate", "RATE", "the most requests, over all workers.", absent="none"),
    ),
)

KINDS: Mapping[str, RecordShape] = {
    "trigger": TRIGGER,
    "score": SCORE,
    "metric": METRIC,
    "segment": SEGMENT,
    "policy": POLICY,
    "brand": BRAND,
    "endpoint": ENDPOINT,
}
"""The documents by the key that each begins with."""
