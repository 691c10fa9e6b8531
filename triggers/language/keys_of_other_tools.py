"""Keys of other tools (campaign tools, CI workflows, cron), and what this language has instead."""

from collections.abc import Collection, Mapping

from schemas.wording import closest, nearest

_FRONT_MATTER = "it belongs in the template, in its front matter between the two lines `---`"
_ON_SCHEDULE = 'write it in `on`, as in on: {every: monday, at: "09:00"}'
_ONE_EXPRESSION = "all conditions are one expression"
_WHEN = f"{_ONE_EXPRESSION}: `when`, asked at the send, or `where` of an event in `on`, as in when: event.total > 20"
_WHERE = f"{_ONE_EXPRESSION}: `where`, as in {{event: order_completed, where: event.total > 20}}"
_NAME = "the first key is the name, as in trigger: welcome"
_IN_WHEN = "write it in `when`, as in when: segment.NAME; with on: {enters: NAME} it begins the rule"
_IN_DKIM = "write it in `dkim`, as in dkim: {domain: shop.example, selector: autumn}"

OTHER_TOOLS: Mapping[str, Mapping[str, str]] = {
    "trigger": {
        **dict.fromkeys(("event", "source", "begin", "metric_name"), "on"),
        **dict.fromkeys(("if", "where", "condition", "filter", "require"), "when"),
        **dict.fromkeys(("filters", "conditions", "criteria", "match", "rules"), _WHEN),
        **dict.fromkeys(("template", "mail", "email", "message"), "send"),
        **dict.fromkeys(("wait", "delay", "in"), "after"),
        "wait_for": "it is a step: write it in `steps`, as in steps: [{wait_for: NAME, up_to: 2d}, …]",
        **dict.fromkeys(("limit", "cooldown", "frequency", "throttle", "rate_limit", "frequency_cap", "max"), "cap"),
        **dict.fromkeys(("test", "example", "fixtures"), "cases"),
        **dict.fromkeys(("consent", "category", "topic", "subscription"), "purpose"),
        **dict.fromkeys(("action", "flow", "journey", "workflow", "job", "sequence"), "steps"),
        **dict.fromkeys(("enabled", "disabled", "status", "state", "active"), "mode"),
        **dict.fromkeys(("quiet_hours", "do_not_disturb", "blackout", "send_window"), "quiet"),
        **dict.fromkeys(("exit", "exit_on", "cancel", "cancel_on", "stop", "stop_on", "until"), "unless"),
        **dict.fromkeys(("re_entry", "reenter", "once", "concurrency"), "reentry"),
        **dict.fromkeys(("variant", "ab_test", "split"), "experiment"),
        **dict.fromkeys(("conversion", "convert"), "goal"),
        **dict.fromkeys(("ttl", "expire", "deadline", "timeout"), "expires"),
        **dict.fromkeys(("control_group", "hold_out"), "holdout"),
        **dict.fromkeys(("subject", "preheader", "from", "reply_to", "sender"), _FRONT_MATTER),
        **dict.fromkeys(("tenant", "identity", "sender_identity", "workspace"), "brand"),
        **dict.fromkeys(("max_sends", "send_limit", "circuit_breaker", "breaker"), "budget"),
        **dict.fromkeys(("every", "schedule", "cron", "at"), _ON_SCHEDULE),
        **dict.fromkeys(("name", "title", "id"), _NAME),
        **dict.fromkeys(("audience", "recipients", "list", "cohort"), _IN_WHEN),
        **dict.fromkeys(("to", "data", "with", "channel", "id"), "write it in `send`, as in send: {template: welcome}"),
        **dict.fromkeys(("timezone", "time_zone", "tz", "zone"), "write `zone` beside the time: in `on`, `quiet`"),
        "body": "it is the template's text: templates/NAME.liquid",
    },
    "send": {
        **dict.fromkeys(("subject", "preheader", "from", "reply_to", "sender", "title"), _FRONT_MATTER),
        **dict.fromkeys(("body", "html", "text", "content"), "it is the template's text: templates/NAME.liquid"),
        **dict.fromkeys(("email", "mail", "name", "message"), "template"),
        **dict.fromkeys(("variable", "param", "with", "context", "vars", "attributes"), "data"),
        **dict.fromkeys(("recipient", "address"), "to"),
        **dict.fromkeys(("when", "if", "condition", "filter"), "it is a key of the trigger, `when`; or a step `if`"),
        **dict.fromkeys(("after", "delay", "wait"), "it is a key of the trigger, `after`; or a step `wait`"),
        "cap": "it is a key of the trigger",
    },
    "on": {
        **dict.fromkeys(("name", "type", "trigger", "track"), "event"),
        **dict.fromkeys(("filter", "if", "condition", "when", "match"), "where"),
        **dict.fromkeys(("filters", "conditions", "criteria"), _WHERE),
        **dict.fromkeys(("cron", "schedule"), 'write it with `every`, as in {every: monday, at: "09:00"}'),
        "segment": "write `enters` or `leaves`, as in {enters: NAME}",
    },
    "a step": {
        **dict.fromkeys(("delay", "after", "sleep", "pause"), "wait"),
        **dict.fromkeys(("email", "mail", "template", "message"), "send"),
        **dict.fromkeys(("condition", "branch", "when", "split"), "if"),
        **dict.fromkeys(("elif", "else_if", "elseif"), "write another `if` inside `else`"),
        **dict.fromkeys(("yes", "do"), "then"),
        **dict.fromkeys(("wait_until", "wait_event", "await", "event"), "wait_for"),
        **dict.fromkeys(("timeout", "within", "max"), "up_to"),
        "webhook": "it is written in `send`, as in - send: {webhook: ENDPOINT}",
    },
    "cap": {
        **dict.fromkeys(("limit", "count", "times"), "max"),
        **dict.fromkeys(("every", "within", "window", "period", "interval"), "per"),
    },
    "quiet": {
        **dict.fromkeys(("start", "begin"), "from"),
        **dict.fromkeys(("end", "until"), "to"),
        **dict.fromkeys(("timezone", "tz", "time_zone"), "zone"),
    },
    "budget": {
        **dict.fromkeys(("limit", "count", "amount"), "max"),
        **dict.fromkeys(("every", "within", "window", "period", "interval"), "per"),
    },
    "brand": {
        **dict.fromkeys(("sender", "mail_from", "from_address"), "from"),
        **dict.fromkeys(("domain", "selector", "signing"), _IN_DKIM),
        **dict.fromkeys(("folder", "template_folder", "template"), "templates"),
        **dict.fromkeys(("consent", "purpose"), "rules name the purpose: their consent is then `brand/purpose`"),
    },
    "goal": {**dict.fromkeys(("in", "window", "up_to"), "within"), **dict.fromkeys(("filter", "if"), "where")},
}
"""By mapping: each key of another tool, with the key of this language or a whole hint."""


def instead_of(what: str, key: str, known: Collection[str]) -> tuple[str, str]:
    """The known key that stands for a key which `what` does not have, or nothing, and the hint."""
    words = OTHER_TOOLS.get(what, {})
    plain = key.lower().replace("-", "_")
    instead = words.get(plain) or words.get(plain.removesuffix("s")) or ""
    if " " in instead:
        return "", instead
    close = closest(instead or key, known)
    return close, f"did you mean `{close}`?" if close else nearest("", known)
