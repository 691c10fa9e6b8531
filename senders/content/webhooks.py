"""The body of a webhook: one JSON object in the form of Standard Webhooks. Pure.

Each attempt sends the same bytes, so a receiver that saw one has seen all.
"""

import orjson

from schemas.commands import SendCommand


def webhook_body(command: SendCommand) -> bytes:
    """`type` is the trigger and the step, `timestamp` when the call was decided, `data` what the rule says."""
    body = {
        "type": f"{command.trigger}.{command.step}",
        "timestamp": command.decided_at,
        "data": command.data,
        "trigger": command.trigger,
        "step": command.step,
        "occurrence": command.occurrence,
        "user_id": command.user_id,
    }
    variant = {} if command.variant is None else {"variant": command.variant}
    return orjson.dumps(body | variant, option=orjson.OPT_UTC_Z)
