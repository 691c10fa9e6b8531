"""The language's keys, declared once: what each takes, its default, and what it means in a sentence.

The loader takes its keys from here, and the reference page and the JSON Schema are written from here. How a key says
what it takes is in `declarations`.
"""

from collections.abc import Mapping

from triggers.language.declarations import ChoiceShape, Key, RecordShape, Shape
from triggers.language.scalars import SCALARS

_PURPOSE = Key("purpose", "NAME", "the consent it needs; `transactional` needs none.", required=True)
_ZONE = Key("zone", "ZONE", "whose clock; `user` is the one of the profile, as it is then.", "user")
_EVENT = Key("event", "[NAME]", "the event's name, or several, any of which will do.", required=True)
_WHERE = Key("where", "EXPR", "asked when the event arrives; `event` is that event.", "true")
_SAME = Key("same", "[NAME]", "properties that must equal the entry event's; in `on`, what events are told apart by.")
_WAY = (
    Key("reaches", "NUMBER", "begins when the value goes from below this to it or above."),
    Key("falls_below", "NUMBER", "begins when the value goes from this or above to below it."),
    Key("rearm", "NUMBER", "where the value must have been in between before it begins again.", "the line"),
)
_SUM = Key("sum", "EXPR", "add this up instead of counting events.")
_DISTINCT = Key("distinct", "EXPR", "count the different values of this instead of events.")
_PATTERN = (_EVENT, _WHERE, _SAME)
_CAP = Key("cap", "[CAP]", "how many may go out in a window of time.")
_QUIET = Key("quiet", "[PERIOD]", "when nothing goes out.")
_EXPIRES = Key("expires", "DURATION", "a send that is not decided this long after it was due is dropped.", "1d")
_HOLDOUT = Key("holdout", "PERCENT", "this share of users passes every gate, and is recorded instead of mailed.", "0%")


TRIGGER = RecordShape(
    "A rule: what begins it, what ends it, and what it sends.",
    (
        Key("trigger", "NAME", "the rule's name.", required=True),
        Key("owner", "TEXT", "who answers for it."),
        Key("description", "TEXT", "why it exists."),
        Key("mode", "MODE", "what a passed decision does; read live, so it is the switch.", "live"),
        _PURPOSE,
        Key("brand", "NAME", "the sender's identity; consent is then asked for `brand/purpose`.", "none", next=True),
        Key("on", "[SOURCE]", "what begins an occurrence; of several, any.", required=True),
        Key("key", "[EXPR]", "what an occurrence is about; at most one runs for a user and key.", "each entry its own"),
        Key(
            "overlap",
            "restart | ignore | gather",
            "a new entry while its key runs: start over with it, drop it, or (in a later version) gather it.",
            "restart",
        ),
        Key(
            "reentry",
            "always | never | DURATION",
            "how long after its last entry an ended key may enter again.",
            "always",
        ),
        Key("after", "WAIT", "the delay before the first step, counted from the entry event's time.", "0s"),
        Key("unless", "[PATTERN]", "ends the occurrence at any moment up to the last send, that instant included."),
        Key("when", "EXPR", "asked at every send, at the moment when it is decided.", "true"),
        _CAP,
        _QUIET,
        _EXPIRES,
        Key("max_age", "DURATION", "asked at entry: what is older changes state and begins nothing.", "24h"),
        Key("settle", "DURATION", "decides this much later than due, so that late events still count.", "0s"),
        Key("priority", "0..100", "of sends due at one instant for one user, the higher goes first.", "50"),
        _HOLDOUT,
        Key("experiment", "EXPERIMENT", "gives each user a variant, always the same one: `occurrence.variant`."),
        Key("goal", "GOAL", "counted after each send or holdout; it measures and stops nothing."),
        Key("send", "SEND", "the one message; `send` or `steps` is written."),
        Key("steps", "list STEP", "a journey of several, at most 50."),
        Key(
            "on_edit",
            "pin | follow",
            "whether running occurrences keep the steps they began with; `follow` comes in a later version.",
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
        Key("ceiling", "NUMBER", "the most it can be, applied after each addition.", "none"),
    ),
)
METRIC = RecordShape(
    "A count for each user over a window, which expressions read.",
    (
        Key("metric", "IDENTIFIER", "its name: `metric.NAME.count .sum .distinct .first .last`.", required=True),
        _EVENT,
        _WHERE,
        Key("within", "WINDOW | ever", "over how long.", required=True),
        _SUM,
        _DISTINCT,
    ),
)
SEGMENT = RecordShape(
    "A group of users by a condition; entering and leaving it can begin a rule.",
    (
        Key("segment", "IDENTIFIER", "its name: `segment.NAME` is true or false.", required=True),
        Key(
            "when",
            "EXPR",
            "over `user`, `score`, `metric` and `now`; asked again whenever one of them may have changed.",
            required=True,
        ),
    ),
)
POLICY = RecordShape(
    "What rules of a purpose or channel obey besides their own keys.",
    (
        Key("policy", "NAME", "the policy's name.", required=True),
        Key("for", "FOR", "who obeys: all that is given must match; `{}` is everybody.", required=True),
        _CAP,
        _QUIET,
        _HOLDOUT,
        Key("expires", "DURATION", "the smallest of the rule's and its policies' holds."),
    ),
)

KINDS: Mapping[str, RecordShape] = {
    "trigger": TRIGGER,
    "score": SCORE,
    "metric": METRIC,
    "segment": SEGMENT,
    "policy": POLICY,
}
"""The documents of a rule file, by the key that each begins with."""

SHAPES: Mapping[str, Shape] = {
    "SOURCE": ChoiceShape(
        "What begins a rule.", "PATTERN | LEVEL | SCORE_LEVEL | SEQUENCE | ENTERS | LEAVES | SCHEDULE | DATE"
    ),
    "PATTERN": ChoiceShape("An event.", "NAME | EVENT"),
    "EVENT": RecordShape("An event with conditions.", _PATTERN),
    "LEVEL": RecordShape(
        "A count, sum or number of different values over a window, which crosses a line.",
        (
            *_PATTERN,
            Key("within", "WINDOW", "over how long."),
            _SUM,
            _DISTINCT,
            *_WAY,
            Key("inactive", "DURATION", "no such event for this long: short for `within: D, falls_below: 1`."),
        ),
        (("within", "inactive"), ("reaches", "falls_below", "inactive")),
    ),
    "SCORE_LEVEL": RecordShape(
        "A score that crosses a line.",
        (Key("score", "IDENTIFIER", "the score's name.", required=True), *_WAY),
        (("reaches", "falls_below"),),
    ),
    "SEQUENCE": RecordShape(
        "Events in this order, others allowed between; each is used once.",
        (
            Key("sequence", "list PATTERN", "the events in order.", required=True),
            Key("within", "DURATION", "from the first to the last.", required=True),
            Key("same", "[NAME]", "properties that must be equal in all of them."),
        ),
    ),
    "ENTERS": RecordShape(
        "A user comes into a segment.", (Key("enters", "IDENTIFIER", "the segment's name.", required=True),)
    ),
    "LEAVES": RecordShape(
        "A user drops out of a segment.", (Key("leaves", "IDENTIFIER", "the segment's name.", required=True),)
    ),
    "SCHEDULE": RecordShape(
        "A slot that comes again: as a source, every user with a profile at each; as a wait, the next one.",
        (
            Key("every", "day | month | [WEEKDAY]", "how often: daily, monthly, or on these weekdays.", required=True),
            Key("day", "1..28 | last", "the day of the month, with `every: month`."),
            Key("at", "CLOCK", "the local time.", required=True),
            _ZONE,
        ),
    ),
    "DATE": RecordShape(
        "A date that the profile gives. Planned anew when that changes; one already past begins nothing.",
        (
            Key(
                "date",
                "EXPR",
                "over `user`: a plain date, a timestamp, or seconds since 1970.",
                required=True,
            ),
            Key("before", "DURATION", "this long before it."),
            Key("after", "DURATION", "this long after it."),
            Key("at", "CLOCK", "then at this local time, and whole local days are counted."),
            Key("yearly", "BOOLEAN", "every year on that day.", "false"),
            _ZONE,
        ),
    ),
    "WAIT": ChoiceShape(
        "A time to wait, the next slot, or a moment that the profile gives.", "DURATION | SCHEDULE | UNTIL"
    ),
    "UNTIL": RecordShape(
        "A moment, followed when the profile changes; due at once where it is past.",
        (Key("until", "EXPR", "a date or a timestamp.", required=True),),
    ),
    "CAP": RecordShape(
        "At most so many sends in a window. A send counts from the instant when it is decided.",
        (
            Key("max", "0..1000 | EXPR", "how many.", required=True),
            Key("per", "WINDOW", "in which window.", required=True),
            Key(
                "scope",
                "trigger | key | purpose | channel | brand | all",
                "what is counted; in a policy it must be written. `brand` comes in a later version.",
                "trigger",
            ),
            Key("over", "drop | defer", "what becomes of one too many: dropped, or sent when there is room.", "drop"),
        ),
    ),
    "PERIOD": ChoiceShape("Local times of the day, or whole local days.", "DAILY | DATES"),
    "DAILY": RecordShape(
        "From one local time to another, over midnight where `to` is earlier.",
        (
            Key("from", "CLOCK", "the first moment.", required=True),
            Key("to", "CLOCK", "the first moment after it.", required=True),
            Key("days", "[WEEKDAY]", "only where it begins on these days.", "every day"),
            _ZONE,
            Key("over", "defer | drop", "a send in it waits for its end, or is dropped.", "defer"),
        ),
    ),
    "DATES": RecordShape(
        "Whole local days, both ends included.",
        (
            Key("from", "DAY", "the first day.", required=True),
            Key("through", "DAY", "the last day.", required=True),
            _ZONE,
            Key("over", "defer | drop", "a send in it waits for its end, or is dropped.", "defer"),
        ),
    ),
    "EXPERIMENT": RecordShape(
        "Variants by weight. Where weights change, only users that must move do.",
        (
            Key("variants", "map NUMBER", "2 to 20 names with their weights.", required=True),
            Key("salt", "TEXT", "two experiments with one salt divide users alike.", "the rule's name"),
        ),
    ),
    "GOAL": RecordShape(
        "What a mail is for.",
        (*_PATTERN, Key("within", "DURATION", "how long after the send it counts.", required=True)),
    ),
    "SEND": ChoiceShape("A template's name, or a message in full.", "NAME | MESSAGE | WEBHOOK"),
    "MESSAGE": RecordShape(
        "One mail.",
        (
            Key("template", "NAME", "the file `templates/NAME.liquid`.", required=True),
            Key("id", "NAME", "the step's name, unique in the rule.", "the template's"),
            Key("channel", "email", "how it goes out.", "email"),
            Key("to", "EXPR", "an address, where it is not the profile's."),
            Key("data", "map EXPR", "what the template may show; a field that fails drops the send."),
        ),
    ),
    "WEBHOOK": RecordShape(
        "A call to an endpoint; no message to the user.",
        (
            Key("webhook", "NAME", "the endpoint's name.", required=True),
            Key("id", "NAME", "the step's name, unique in the rule.", "the endpoint's"),
            Key("data", "map EXPR", "what is sent."),
        ),
        next=True,
    ),
    "STEP": ChoiceShape("One step of a journey.", "exit | SEND_STEP | WAIT_STEP | WAIT_FOR_STEP | IF_STEP"),
    "SEND_STEP": RecordShape(
        "Sends. A dropped send is skipped and the journey goes on; a deferred one holds it.",
        (Key("send", "SEND", "the message.", required=True),),
    ),
    "WAIT_STEP": RecordShape("Waits.", (Key("wait", "WAIT", "for how long, or until when.", required=True),)),
    "WAIT_FOR_STEP": RecordShape(
        "Waits for an event, at once satisfied by one since entry: `occurrence.matched`.",
        (
            Key("wait_for", "PATTERN", "the event.", required=True),
            Key("up_to", "WAIT", "how long at most.", required=True),
            Key("then", "list STEP", "when it came."),
            Key("else", "list STEP", "when it did not."),
        ),
        next=True,
    ),
    "IF_STEP": RecordShape(
        "Asks.",
        (
            Key("if", "EXPR", "the question.", required=True),
            Key("then", "list STEP", "where it is true.", required=True),
            Key("else", "list STEP", "where it is not."),
        ),
    ),
    "DECAY": ChoiceShape("How a score fades.", "EXPONENTIAL | LINEAR | POWER"),
    "EXPONENTIAL": RecordShape(
        "Halves again and again.",
        (
            Key("curve", "exponential", "", required=True),
            Key("half_life", "DURATION", "how long until half is left.", required=True),
        ),
    ),
    "LINEAR": RecordShape(
        "Points go evenly over their lifetime, or all at its end.",
        (
            Key("curve", "linear | step", "", required=True),
            Key("lifetime", "DURATION", "how long until a point is gone.", required=True),
        ),
    ),
    "POWER": RecordShape(
        "Fades fast first and slowly later.",
        (
            Key("curve", "power", "", required=True),
            Key("scale", "DURATION", "the time after which fading sets in.", required=True),
            Key("exponent", "NUMBER", "how steep.", required=True),
        ),
    ),
    "ADDITION": RecordShape(
        "What raises a score.",
        (_EVENT, _WHERE, Key("points", "EXPR", "by how much.", required=True)),
    ),
    "FOR": RecordShape(
        "Who obeys a policy.",
        (
            Key("purpose", "NAME", "rules of this purpose."),
            Key("brand", "NAME", "rules of this brand.", next=True),
            Key("channel", "NAME", "rules that send by this channel."),
        ),
    ),
    "CASE": RecordShape(
        "One example: what is given, and every send that is expected. It runs until nothing is due.",
        (
            Key("name", "TEXT", "what it shows.", required=True),
            Key("start", "START", "the local day on which it begins.", "2026-01-05"),
            Key("user", "USER", "the profile at the start, and what the user has done before."),
            Key("given", "list GIVEN", "events and changes of the profile.", required=True),
            Key("expect", "list EXPECTED", "every send; drops and exits where they are written.", required=True),
            Key("until", "TIME", "where it ends; required where `on` comes again by itself."),
            Key("policies", "[NAME]", "the policies it sees; no others."),
        ),
    ),
    "EXPECTED": RecordShape(
        "What happens at a time.",
        (
            Key("at", "TIME", "when; it counts to the precision written.", required=True),
            Key("send", "NAME", "a send, by its id."),
            Key("drop", "REASON", "a send dropped, by its reason."),
            Key("exit", "NAME", "the occurrence ended by this event of `unless`."),
        ),
        (("send", "drop", "exit"),),
    ),
    **SCALARS,
}
"""Every shape that a key can take, by its name."""


def record(name: str) -> RecordShape:
    """The mapping of a kind of document or of a shape."""
    found = KINDS[name] if name in KINDS else SHAPES[name]
    assert isinstance(found, RecordShape)
    return found


def keys(*names: str, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The keys of one mapping, or of several that share a place, in order; those `without` are left out."""
    found = dict.fromkeys(key.name for name in names for key in record(name).keys if not key.next)
    return tuple(name for name in found if name not in without)
