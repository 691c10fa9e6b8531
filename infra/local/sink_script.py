"""The script of the sink of providers: how its listeners present themselves and how each provider answers.

TOML; the first provider that matches a recipient answers, and one without `recipients` matches all:

    [[listener]]                  # none means one at 127.0.0.1 with the defaults below
    host = "127.0.0.2"            # any address of 127.0.0.0/8; the port is the sink's
    names = ["mx.slow.example"]   # in the certificate; the first is in the greeting
    starttls = "offered"          # stripped: not offered, and refused; broken: 220, and then no TLS
    certificate = "valid"         # by the authority in ca.pem; or expired, wrong-name, self-signed
    pipelining = true             # chunking, smtputf8 and 8bitmime likewise
    mails = 100                   # mails a connection, in LIMITS too (RFC 9422); then 421

    [[provider]]
    name = "slow"
    recipients = ["*@slow.example"]
    latency_ms = [50, 200]        # before the replies to what came together
    drip_s = 5.0                  # each reply takes so long, byte by byte
    deferral = 0.05               # share of RCPT that gets 451, of attempts
    bounce = 0.05                 # share of RCPT that gets 550, of addresses
    greylist_s = 60               # 451 to a new (source, sender, recipient) until it comes again after so long
    rate = {mails = 10, per_s = 1, block_s = 30, reply = "421 4.7.28 too many mails"}

    [[provider.replies]]          # before those above; the first that applies
    at = "dot"                    # connect, mail, rcpt, data or dot; at connect and mail only without `recipients`
    text = "421 4.3.2 closing"    # empty: close without a reply. After 421 the connection is closed too
    share = 0.1                   # of those to which it applies
    times = 2                     # at most so often for each recipient
    sources = ["127.0.0.9"]       # only for clients from these addresses
    from_s = 10                   # only from so long after the sink's start, up to `until_s`
    until_file = "over"           # only as long as there is no such file, by default in the sink's directory
    keep = true                   # the mail counts as received all the same, at `dot`
"""

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

Stage = Literal["connect", "mail", "rcpt", "data", "dot"]
Share = Annotated[float, Field(ge=0, le=1)]
ReplyText = Annotated[str, Field(pattern=r"^([2-5]\d\d [ -~]*)?$")]


class _ScriptPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listener(_ScriptPart):
    """How one address presents itself."""

    host: Annotated[str, Field(pattern=r"^127(\.\d{1,3}){3}$")] = "127.0.0.1"
    names: tuple[str, ...] = ("sink.example",)
    starttls: Literal["offered", "stripped", "broken"] = "offered"
    certificate: Literal["valid", "expired", "wrong-name", "self-signed"] = "valid"
    pipelining: bool = True
    chunking: bool = True
    smtputf8: bool = True
    eightbitmime: Annotated[bool, Field(alias="8bitmime")] = True
    mails: PositiveInt | None = None


class RateBlock(_ScriptPart):
    """More mails from one source in this time block it."""

    mails: PositiveInt
    per_s: PositiveFloat = 1.0
    block_s: NonNegativeFloat = 0.0
    reply: ReplyText = "421 4.7.28 too many mails from your address"


class ScriptedAnswer(_ScriptPart):
    """A reply other than 2xx or 354, and when it is given."""

    at: Stage
    text: ReplyText = ""
    share: Share = 1.0
    times: PositiveInt | None = None
    sources: tuple[str, ...] = ()
    from_s: NonNegativeFloat = 0.0
    until_s: float = float("inf")
    until_file: Path | None = None
    keep: bool = False


class Provider(_ScriptPart):
    """How one provider answers."""

    name: str
    recipients: tuple[str, ...] = ("*",)
    latency_ms: tuple[NonNegativeFloat, NonNegativeFloat] = (0.0, 0.0)
    drip_s: NonNegativeFloat = 0.0
    deferral: Share = 0.0
    bounce: Share = 0.0
    greylist_s: NonNegativeFloat = 0.0
    rate: RateBlock | None = None
    replies: tuple[ScriptedAnswer, ...] = ()

    def matches(self, recipient: str) -> bool:
        """Whether this provider answers for the recipient."""
        return any(fnmatchcase(recipient.lower(), pattern.lower()) for pattern in self.recipients)


class SinkScript(_ScriptPart):
    """The whole script."""

    seed: int = 1
    listener: tuple[Listener, ...] = (Listener(),)
    provider: tuple[Provider, ...] = ()


def read_script(path: Path | None) -> SinkScript:
    """The script in a file; raises OSError, TOMLDecodeError or ValidationError."""
    return SinkScript() if path is None else SinkScript.model_validate(tomllib.loads(path.read_text()))
