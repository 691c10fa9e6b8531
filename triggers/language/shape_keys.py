"""The mappings that keys take, and the choices between shapes, each declared once."""

from collections.abc import Mapping

from schemas.budgets import MAX_BUDGET
from triggers.language.declarations import ChoiceShape, Key, RecordShape, Shape
from triggers.measures.decay import MAX_SCORE

EVENT = Key("event", "[NAME]", "the event's name, or several names: any of them matches.", required=True)
WHERE = Key("where", "EXPR", "evaluated when the event arrives; `event` is that event.", "true")
SUM = Key("sum", "EXPR", "adds this up instead of counting events.")
DISTINCT = Key("distinct", "EXPR", "counts the different values of this instead of events.")
SCORE_NUMBER = f"number 0..{MAX_SCORE:g}"
_SAME = Key("same", "[NAME]", "properties that must equal the entry event's; in `on`, properties to group events by.")
_PATTERN = (EVENT, WHERE, _SAME)
_CROSSING = (
    Key("reaches", "NUMBER", "begins when the value goes from below this to this or above."),
    Key("falls_below", "NUMBER", "begins when the value goes from this or above to below this."),
    Key("rearm", "NUMBER", "the value must reach this before it can cross again.", absent="the line"),
)
_ZONE = Key("zone", "ZONE", "the clock that applies; `user` is the zone of the profile at that moment.", "user")
_QUIET_OVER = Key("over", "defer | drop", "a send in it waits for its end, or is dropped.", "defer")

SHAPES: Mapping[str, Shape] = {
    "SOURCE": ChoiceShape(
        "What begins a rule.", "PATTERN | LEVEL | SCORE_LEVEL | SEQUENCE | ENTERS | LEAVES | SCHEDULE | DATE"
    ),
    "PATTERN": ChoiceShape("An event.", "NAME | EVENT"),
    "EVENT": RecordShape("An event with conditions.", _PATTERN),
    "LEVEL": RecordShape(
        "A count, a sum or a number of different values over a window, which crosses a line.",
        (
            *_PATTERN,
            Key("within", "WINDOW", "the length of the window."),
            SUM,
            DISTINCT,
            *_CROSSING,
            Key("inactive", "DURATION", "no such event for this long: short for `within: D, falls_below: 1`."),
        ),
        (("within", "inactive"), ("reaches", "falls_below", "inactive")),
    ),
    "SCORE_LEVEL": RecordShape(
        "A score that crosses a line.",
        (Key("score", "IDENTIFIER", "the score's name.", required=True), *_CROSSING),
        (("reaches", "falls_below"),),
    ),
    "SEQUENCE": RecordShape(
        "Events in this order. Other events may come between; each event is used once.",
        (
            Key("sequence", "list PATTERN", "the events in order.", size=(2, 8), required=True),
            Key("within", "DURATION", "the longest time from the first to the last.", required=True),
            Key("same", "[NAME]", "properties that must be equal in all of them."),
        ),
    ),
    "ENTERS": RecordShape(
        "A user enters a segment.", (Key("enters", "IDENTIFIER", "the segment's name.", required=True),)
    ),
    "LEAVES": RecordShape(
        "A user leaves a segment.", (Key("leaves", "IDENTIFIER", "the segment's name.", required=True),)
    ),
    "SCHEDULE": RecordShape(
        "A recurring slot. As a source: every user with a profile, at each slot. As a wait: the next slot.",
        (
            Key("every", "day | month | [WEEKDAY]", "how often: daily, monthly, or on these weekdays.", required=True),
            Key("day", "1..28 | last", "the day of the month, with `every: month`.", "1"),
            Key("at", "CLOCK", "the local time.", required=True),
            _ZONE,
        ),
    ),
    "DATE": RecordShape(
        "A date from the profile, planned again when the profile changes. A date already past begins nothing.",
        (
            Key("date", "EXPR", "over `user`: a plain date, a timestamp, or seconds since 1970.", required=True),
            Key("before", "DURATION", "this long before it.", "0s"),
            Key("after", "DURATION", "this long after it.", "0s"),
            Key("at", "CLOCK", "then at this local time; `before` and `after` count whole local days."),
            Key("yearly", "BOOLEAN", "every year on that day.", "false"),
            _ZONE,
        ),
    ),
    "WAIT": ChoiceShape("A time, the next slot, or a moment from the profile.", "DURATION | SCHEDULE | UNTIL"),
    "UNTIL": RecordShape(
        "A moment. It moves when the profile changes, and is due at once if it is past.",
        (Key("until", "EXPR", "a date or a timestamp.", required=True),),
    ),
    "CAP": RecordShape(
        "At most so many sends in a window. A send counts from the instant of its decision.",
        (
            Key("max", "0..1000 | EXPR", "how many.", required=True),
            Key("per", "WINDOW", "in which window.", required=True),
            Key(
                "scope",
                "trigger | key | purpose | channel | brand | all",
                "the sends that are counted. A policy must write it.",
                "trigger",
            ),
            Key("over", "drop | defer", "one send too many is dropped, or sent when there is room.", "drop"),
            Key(
                "spread",
                "DURATION",
                "with `over: defer`: users leave at moments of their own, up to this long after there is room.",
                "0s",
            ),
        ),
    ),
    "BUDGET": RecordShape(
        "At most so many commands in a window, over all users. A person releases or discards the others.",
        (
            Key("max", f"0..{MAX_BUDGET}", "how many. With 0, a person looks at each.", required=True),
            Key("per", "WINDOW", "in which window; a calendar window is that of the default zone.", required=True),
        ),
    ),
    "DKIM": RecordShape(
        "The name of a DKIM key. Delivery must have the key itself.",
        (
            Key("domain", "DOMAIN", "the domain that publishes it.", required=True),
            Key("selector", "SELECTOR", "its selector there.", required=True),
        ),
    ),
    "PERIOD": ChoiceShape("Local times of day, or whole local days.", "DAILY | DATES"),
    "DAILY": RecordShape(
        "From one local time to another, over midnight if `to` is earlier.",
        (
            Key("from", "CLOCK", "the first moment.", required=True),
            Key("to", "CLOCK", "the first moment after it.", required=True),
            Key("days", "[WEEKDAY]", "only periods that begin on these days.", absent="every day"),
            _ZONE,
            _QUIET_OVER,
        ),
    ),
    "DATES": RecordShape(
        "Whole local days, first and last included.",
        (
            Key("from", "DAY", "the first day.", required=True),
            Key("through", "DAY", "the last day.", required=True),
            _ZONE,
            _QUIET_OVER,
        ),
    ),
    "EXPERIMENT": RecordShape(
        "Variants by weight. When weights change, only users who must move do.",
        (
            Key("variants", "map number 0..1000000", "names with their weights.", size=(2, 20), required=True),
            Key("salt", "TEXT", "two experiments with the same salt divide users alike.", absent="the rule's name"),
        ),
    ),
    "GOAL": RecordShape(
        "The purpose of a mail, as an event to count.",
        (*_PATTERN, Key("within", "DURATION", "how long after the send it counts.", required=True)),
    ),
    "SEND": ChoiceShape("A template's name, or a message in full.", "NAME | MESSAGE | WEBHOOK"),
    "MESSAGE": RecordShape(
        "One mail.",
        (
            Key("template", "NAME", "the file `templates/NAME.liquid`.", required=True),
            Key("id", "NAME", "the step's name, unique in the rule.", absent="the template's name"),
            Key("channel", "email", "the channel of delivery.", "email"),
            Key("to", "EXPR", "an address.", absent="the profile's address"),
            Key("data", "map EXPR", "the template's variables. A field that fails drops the send.", size=(0, 100)),
        ),
    ),
    "WEBHOOK": RecordShape(
        "A call to an endpoint; no message to the user.",
        (
            Key("webhook", "NAME", "the endpoint's name.", required=True),
            Key("id", "NAME", "the step's name, unique in the rule.", absent="the endpoint's name"),
            Key("data", "map EXPR", "the body's `data`. A field that fails drops the send.", size=(0, 100)),
        ),
    ),
    "HEADER": ChoiceShape("A header's value, or the name of a secret that holds it.", "TEXT | SECRET"),
    "SECRET": RecordShape(
        "A secret of delivery, which no file holds.", (Key("secret", "NAME", "the secret's name.", required=True),)
    ),
    "STEP": ChoiceShape("One step of a journey.", "exit | SEND_STEP | WAIT_STEP | WAIT_FOR_STEP | IF_STEP"),
    "SEND_STEP": RecordShape(
        "Sends. A dropped send is skipped and the journey goes on; a deferred one holds the journey.",
        (Key("send", "SEND", "the message.", required=True),),
    ),
    "WAIT_STEP": RecordShape("Waits.", (Key("wait", "WAIT", "for how long, or until when.", required=True),)),
    "WAIT_FOR_STEP": RecordShape(
        "Waits for an event, which is `occurrence.matched` from then on. One that came since the entry counts at once.",
        (
            Key("wait_for", "PATTERN", "the event.", required=True),
            Key("up_to", "WAIT", "the longest wait.", required=True),
            Key("then", "list STEP", "steps if it came."),
            Key("else", "list STEP", "steps if it did not come."),
        ),
    ),
    "IF_STEP": RecordShape(
        "Branches.",
        (
            Key("if", "EXPR", "the condition.", required=True),
            Key("then", "list STEP", "steps if it is true.", required=True),
            Key("else", "list STEP", "steps if it is not."),
        ),
    ),
    "DECAY": ChoiceShape("How a score fades.", "EXPONENTIAL | LINEAR | POWER"),
    "EXPONENTIAL": RecordShape(
        "Halves again and again.",
        (
            Key("curve", "exponential", "the curve's name.", required=True),
            Key("half_life", "DURATION", "how long until half is left.", required=True),
        ),
    ),
    "LINEAR": RecordShape(
        "Points fade evenly over their lifetime, or all at its end.",
        (
            Key("curve", "linear | step", "the curve's name.", required=True),
            Key("lifetime", "DURATION", "how long until a point is gone.", required=True),
        ),
    ),
    "POWER": RecordShape(
        "Fades fast at first and slowly later.",
        (
            Key("curve", "power", "the curve's name.", required=True),
            Key("scale", "DURATION", "the time after which fading sets in.", required=True),
            Key("exponent", "number 0.01..100", "how steep.", required=True),
        ),
    ),
    "ADDITION": RecordShape(
        "An event that raises a score.",
        (EVENT, WHERE, Key("points", "EXPR", "by how much.", required=True)),
    ),
    "FOR": RecordShape(
        "The rules that obey a policy.",
        (
            Key("purpose", "NAME", "rules of this purpose."),
            Key("brand", "NAME", "rules of this brand."),
            Key("channel", "NAME", "rules that send by this channel."),
        ),
    ),
    "CASE": RecordShape(
        "One example: given events, and every expected send. It runs until nothing is due.",
        (
            Key("name", "TEXT", "what the case shows.", required=True),
            Key("start", "START", "the local day on which it begins.", '"2026-01-05"'),
            Key("user", "USER", "the profile at the start, and the scores and metrics of the user.", "{}"),
            Key("given", "list GIVEN", "events, and changes of the profile.", required=True),
            Key("expect", "list EXPECTED", "every send; drops and exits if they are written.", required=True),
            Key("until", "TIME", "the end. Required if `on` recurs by itself."),
            Key("policies", "[NAME]", "the policies that apply; no others do."),
            Key("with", "[NAME]", "other rules that take part; their sends are expected as `RULE/STEP`."),
        ),
    ),
    "USER": RecordShape(
        "Every other key is an attribute of the profile.",
        (
            Key("zone", "TEXT", "the profile's zone: an IANA name."),
            Key("locale", "TEXT", "the profile's locale."),
            Key(
                "consent",
                "list NAME",
                "what the user consents to; under a brand, `brand/purpose`.",
                absent="what the rule needs",
            ),
            Key("score", f"map {SCORE_NUMBER}", "scores by name."),
            Key("metric", "map MEASURED", "metrics by name."),
            Key("variant", "TEXT", "the variant of the experiment.", absent="the hash's"),
            Key("held_out", "BOOLEAN", "whether the user is in the holdout.", absent="no"),
        ),
        open=True,
    ),
    "MEASURED": ChoiceShape("A metric's count or sum, or several measures.", "NUMBER | MEASURES"),
    "MEASURES": RecordShape(
        "What a metric has measured.",
        (
            Key("count", "NUMBER", "how many events."),
            Key("sum", "NUMBER", "their sum."),
            Key("distinct", "NUMBER", "how many different values."),
        ),
    ),
    "EXPECTED": RecordShape(
        "What happens at a time.",
        (
            Key("at", "TIME", "when; it counts to the precision written.", required=True),
            Key("send", "NAME", "a send, by its id; of another rule as `RULE/STEP`."),
            Key("drop", "REASON", "a dropped send, by its reason."),
            Key("exit", "NAME", "the occurrence ended by this event of `unless`."),
        ),
        (("send", "drop", "exit"),),
    ),
}
"""Each by the name under which keys take it."""
