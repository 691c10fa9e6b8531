"""The receiver of a chaos run: domains, how many of the addresses each has, and the sink's script for them."""

from collections.abc import Mapping

DOMAINS: Mapping[str, int] = {
    "plain.example": 54,
    "slow.example": 10,
    "strict.example": 12,
    "greylists.example": 8,
    "busy.example": 7,
    "drops.example": 7,
    "full.example": 2,
}
"""Addresses of a hundred."""
NEVER_TAKES = "full.example"
"""Mail to it waits until it expires."""
SCRIPT = """
seed = {seed}

[[provider]]
name = "plain"
recipients = ["*@plain.example"]
latency_ms = [0, 60]

[[provider]]
name = "slow"
recipients = ["*@slow.example"]
latency_ms = [50, 250]
deferral = 0.05

[[provider]]
name = "strict"
recipients = ["*@strict.example"]
deferral = 0.1
bounce = 0.1
[[provider.replies]]
at = "dot"
text = "554 5.7.1 message rejected: its content looks like spam"
share = 0.03
[[provider.replies]]
at = "dot"
text = "550 5.7.1 service unavailable; client host blocked using an RBL"
share = 0.02

[[provider]]
name = "greylists"
recipients = ["*@greylists.example"]
greylist_s = 1

[[provider]]
name = "busy"
recipients = ["*@busy.example"]
rate = {{mails = 60, per_s = 1, block_s = 1}}
[[provider.replies]]
at = "rcpt"
text = "421 4.3.2 closing"
share = 0.02
[[provider.replies]]
at = "data"
text = ""
share = 0.02
[[provider.replies]]
at = "dot"
text = "421 4.3.2 closing"
share = 0.02

[[provider]]
name = "drops"
recipients = ["*@drops.example"]
latency_ms = [0, 50]
[[provider.replies]]
at = "dot"
text = ""
share = 0.03
[[provider.replies]]
at = "dot"
text = ""
share = 0.03
keep = true

[[provider]]
name = "full"
recipients = ["*@full.example"]
[[provider.replies]]
at = "rcpt"
text = "452 4.2.2 mailbox full"
"""


def script(seed: int) -> str:
    """The sink's script, whose chances come from a seed."""
    return SCRIPT.format(seed=seed)
