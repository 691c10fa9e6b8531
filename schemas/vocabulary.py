"""The one vocabulary of outcomes and reasons: logs, metrics, SQL and tests spell them as they are spelled here."""

from enum import StrEnum


class DecisionOutcome(StrEnum):
    """What a decision did."""

    SEND = "send"
    DROP = "drop"
    DEFER = "defer"
    HELD_OUT = "held_out"
    SHADOW = "shadow"
    GOAL = "goal"


class Reason(StrEnum):
    """Why a decision did not send."""

    MODE = "mode"
    DUPLICATE = "duplicate"
    SUPPRESSED = "suppressed"
    NO_CONSENT = "no_consent"
    PROFILE_UNKNOWN = "profile_unknown"
    USER_PAUSED = "user_paused"
    CONDITION = "condition"
    CONDITION_ERROR = "condition_error"
    HOLDOUT = "holdout"
    EXPIRED = "expired"
    QUIET = "quiet"
    CAP = "cap"
    INVALID_DATA = "invalid_data"
    EVICTED = "evicted"
    WITHDRAWN = "withdrawn"


class Gate(StrEnum):
    """The gates of a send, in the order in which they are checked."""

    MODE = "mode"
    DEDUPE = "dedupe"
    SUPPRESSION = "suppression"
    CONSENT = "consent"
    WHEN = "when"
    HOLDOUT = "holdout"
    EXPIRY = "expiry"
    QUIET = "quiet"
    CAP = "cap"


class OutcomeKind(StrEnum):
    """What became of a command: first at our side, then at the receiver, then with the reader."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    BOUNCED = "bounced"
    OPENED = "opened"
    CLICKED = "clicked"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    REINSTATED = "reinstated"
    """A person lifted the suppression of the user's address."""


class Evidence(StrEnum):
    """What tells whether a person or a machine opened, clicked or unsubscribed."""

    HEAD = "head"
    """A request for the headers alone."""
    HIDDEN_LINK = "hidden_link"
    """A link that no reader can see."""
    BOT_AGENT = "bot_agent"
    """A program that says that it is one, or says nothing."""
    BURST = "burst"
    """Several links of one mail within two seconds."""
    EARLY_CLICK = "early_click"
    """Within a minute of acceptance, without an open before it, and not as browsers follow a link."""
    PREFETCH = "prefetch"
    """A request that says that nobody reads yet, or that a proxy made within a minute of acceptance."""
    PROXY = "proxy"
    """A proxy of a mailbox provider: it may act for a reader, or for nobody."""
    ONE_CLICK = "one_click"
    """The mailbox provider's own button (RFC 8058)."""
    NAVIGATION = "navigation"
    """More than a minute after acceptance, as browsers follow a link that somebody clicks."""
    PAGE_POST = "page_post"
    """A form of our page that was sent."""
    NONE = "none"
    """Nothing that tells."""


MACHINES = frozenset(
    {
        Evidence.HEAD,
        Evidence.HIDDEN_LINK,
        Evidence.BOT_AGENT,
        Evidence.BURST,
        Evidence.EARLY_CLICK,
        Evidence.PREFETCH,
    }
)
"""By these it was a machine, for sure or probably."""
PEOPLE = frozenset({Evidence.NAVIGATION, Evidence.PAGE_POST})
"""By these it was a person. The rest leaves it open."""


class ProblemCause(StrEnum):
    """Why an expression of a rule gave nothing that the rule could use."""

    EXPRESSION = "expression"
    NOT_A_DATE = "not_a_date"
    NO_SUCH_DAY = "no_such_day"
    YEAR_OUT_OF_RANGE = "year_out_of_range"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"


class LedgerState(StrEnum):
    """Where a command stands in the delivery ledger."""

    ADMITTED = "admitted"
    STARTED = "started"
    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"

    @property
    def waiting(self) -> bool:
        """Whether more will happen to the command by itself."""
        return self in _WAITING

    @property
    def terminal(self) -> bool:
        """Whether nothing more will happen to the command."""
        return not self.waiting and self is not LedgerState.IN_DOUBT


_WAITING = frozenset({LedgerState.ADMITTED, LedgerState.STARTED, LedgerState.DEFERRED})


class SuppressionReason(StrEnum):
    """Why delivery withheld a command that streams had decided to send."""

    NO_RECIPIENT = "no_recipient"
    SUPPRESSED = "suppressed"
    NO_CONSENT = "no_consent"
    USER_PAUSED = "user_paused"
    """The user asked for no mail for a time."""
    DISCARDED = "discarded"
    """A person paused its trigger, its purpose or everything, and asked for nothing to be kept."""


class PauseMode(StrEnum):
    """What delivery does with commands of a paused scope."""

    HOLD = "hold"
    """They wait for the end of the pause, or expire."""
    DISCARD = "discard"
    """They end as `suppressed`."""
    DRAIN = "drain"
    """Those admitted before the pause go out, later ones wait."""


class DeliveryReason(StrEnum):
    """Why delivery waits, or answered as it did, if neither a suppression nor an SMTP reply shows it."""

    CONSENT_STALE = "consent_stale"
    VIEW_BEHIND = "view_behind"
    PAUSED = "paused"
    BUDGET = "budget"
    """More commands than a budget allows: it waits until a person releases or discards it, or it expires."""
    TEMPLATE_MISSING = "template_missing"
    TEMPLATE_INVALID = "template_invalid"
    BRAND_MISSING = "brand_missing"
    SIGNING_KEY_MISSING = "signing_key_missing"
    """The brand names a key that this worker does not have, or that does not sign yet."""
    UNDEFINED = "undefined"
    RENDER_LIMIT = "render_limit"
    RENDER_ERROR = "render_error"
    DELIVERY_ERROR = "delivery_error"
    HEADER = "header"
    ADDRESS = "address"
    ADDRESS_CHANGED = "address_changed"
    CHANNEL = "channel"
    HARD_BOUNCE = "hard_bounce"
    DISCONNECTED = "disconnected"
    TIMED_OUT = "timed_out"
    NO_REPLY = "no_reply"
    BAD_REPLY = "bad_reply"
    TOO_LARGE = "too_large"
    NEEDS_8BITMIME = "needs_8bitmime"
    NEEDS_SMTPUTF8 = "needs_smtputf8"
    LIMITED = "limited"
    """A limit, a suspension or a server that is away: the detail says which, and until when."""
    WORKER_LOST = "worker_lost"
    ENDPOINT_MISSING = "endpoint_missing"
    SECRET_MISSING = "secret_missing"  # noqa: S105  # a reason
    DESTINATION_REFUSED = "destination_refused"
    """The endpoint's host has an address that the settings do not allow."""
    UNREACHABLE = "unreachable"
    HTTP_STATUS = "http_status"
    """The endpoint answered with another status than 2xx; the reply says which."""
    ENDPOINT_GONE = "endpoint_gone"
    """The endpoint answered 410: it wants no webhook any more."""
    RETRIES_USED = "retries_used"
    SETTLED = "settled"
    """A person decided what becomes of a mail in doubt."""


class ReplyClass(StrEnum):
    """What a refusal or a bounce is about: the classes of senders/bounces/data/classes.toml.

    An operator's rules may add others, so a class on the wire is text.
    """

    INVALID_RECIPIENT = "invalid_recipient"
    MOVED = "moved"
    BAD_DOMAIN = "bad_domain"
    NO_MAIL = "no_mail"
    INACTIVE_MAILBOX = "inactive_mailbox"
    QUOTA_ISSUES = "quota_issues"
    SPAM_BLOCK = "spam_block"
    POLICY_RELATED = "policy_related"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_RECIPIENTS = "too_many_recipients"
    AUTHENTICATION_FAILED = "authentication_failed"
    BAD_CONFIGURATION = "bad_configuration"
    RELAY_DENIED = "relay_denied"
    RELAYING_ISSUES = "relaying_issues"
    ROUTING_ERRORS = "routing_errors"
    DNS_FAILURE = "dns_failure"
    NO_ANSWER_FROM_HOST = "no_answer_from_host"
    BAD_CONNECTION = "bad_connection"
    TRANSIENT_FAILURE = "transient_failure"
    MESSAGE_EXPIRED = "message_expired"
    INVALID_SENDER = "invalid_sender"
    SPAM_CONTENT = "spam_content"
    SPAM_RELATED = "spam_related"
    VIRUS_RELATED = "virus_related"
    PROHIBITED_ATTACHMENT = "prohibited_attachment"
    CONTENT_RELATED = "content_related"
    PROTOCOL_ERRORS = "protocol_errors"
    CHALLENGE_RESPONSE = "challenge_response"
    AUTO_REPLY = "auto_reply"
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    UNCATEGORIZED = "uncategorized"


HARD = frozenset({ReplyClass.INVALID_RECIPIENT, ReplyClass.MOVED, ReplyClass.BAD_DOMAIN, ReplyClass.NO_MAIL})
"""The address or its domain does not exist, has moved, or never takes mail. No other class of ours condemns an address.
"""


BLOCKS = frozenset(
    {
        ReplyClass.SPAM_BLOCK,
        ReplyClass.POLICY_RELATED,
        ReplyClass.AUTHENTICATION_FAILED,
        ReplyClass.BAD_CONFIGURATION,
        ReplyClass.RELAY_DENIED,
    }
)
"""The receiver refuses us, our address or our domain, and neither the recipient nor the mail."""


class DeadLetterCause(StrEnum):
    """Why a record could not be read or processed."""

    NOT_JSON = "not_json"
    INVALID = "invalid"
    MISROUTED = "misrouted"
    RULE_ERROR = "rule_error"
    READER_ERROR = "reader_error"


ENGAGEMENT = frozenset(
    {
        OutcomeKind.BOUNCED,
        OutcomeKind.OPENED,
        OutcomeKind.CLICKED,
        OutcomeKind.COMPLAINED,
        OutcomeKind.UNSUBSCRIBED,
    }
)
"""What the receiver or the reader did; every other kind is our own delivery's answer."""

OUTCOME_EVENTS = frozenset(
    {
        *(f"email.{kind.value}" for kind in OutcomeKind),
        *(f"webhook.{kind.value}" for kind in set(OutcomeKind) - ENGAGEMENT - {OutcomeKind.REINSTATED}),
    }
)
"""The events that outcomes are to rules."""

NEVER_ACCEPTED = frozenset({OutcomeKind.SUPPRESSED, OutcomeKind.EXPIRED, OutcomeKind.REFUSED, OutcomeKind.FAILED})
"""The outcomes that give a cap's reservation back: the message was never accepted by anybody."""

TRANSACTIONAL = "transactional"
"""The purpose that needs no consent."""
PREFERENCES = "ebbtide.preferences"
"""Names the mails by which recipients confirm a choice where mails of rules have the name of their trigger."""
