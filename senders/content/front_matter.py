"""The front matter of a template: its keys, and what each value must be.

    subject    required; the subject, Liquid
    preheader  the line that mail programs show beside the subject, Liquid
    from       `Name <address>` or an address; both parts are Liquid
    reply_to   the same
    track      which uses of the mail are tracked: a list of `opens` and `clicks`, or `[]`

A mailbox is split into name and address before it is rendered, so that no value in the name can become an address.
"""

import difflib
import re
from dataclasses import dataclass, field

import yaml

from senders.content.blanks import is_blank
from senders.content.headers import HeaderError
from senders.content.message import Mailbox

KEYS = ("subject", "preheader", "from", "reply_to", "track")
TRACKED = ("opens", "clicks")
"""What can be tracked."""
MAILBOXES = {"from": "From", "reply_to": "Reply-To"}
"""Keys whose value is one mailbox, and the header that each becomes."""
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?\n", re.DOTALL | re.MULTILINE)
_MAILBOX = re.compile(r"(.*?)<([^<>]*)>\s*", re.DOTALL)
_QUOTED = re.compile(r'\s*"(.*)"\s*', re.DOTALL)
_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_SNIFFED = 8
"""Characters in which UTF-16 without a byte order mark shows: every other one is U+0000."""
_SEVERAL = re.compile(r"[<>@]")
_TEXT = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class FrontMatterFault:
    """What is wrong with the front matter, and at which index of the template's text."""

    detail: str
    index: int
    key: str = ""
    """The wrong key, or the known key most similar to it. Empty if the fault is not in a single key."""


@dataclass(frozen=True, slots=True)
class Source:
    """The Liquid of one value, and where it begins in the template's text."""

    text: str
    index: int


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The values by key, where the front matter ends, and everything that is wrong with it."""

    values: dict[str, Source]
    end: int
    faults: list[FrontMatterFault]
    lists: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def track(self) -> frozenset[str] | None:
        """What is tracked; None if the template does not say."""
        return self.lists.get("track")

    def mailbox(self, key: str) -> tuple[Source, Source]:
        """Display name and address of `from` or `reply_to`."""
        return _split(self.values[key])


def read(body: str) -> FrontMatter:
    """The front matter of the template's text."""
    front = _FRONT.match(body)
    if front is None:
        utf_16 = "\0" in body[:_SNIFFED]
        detail = "it is UTF-16; save the file as UTF-8" if utf_16 else "no front matter between two lines `---`"
        return FrontMatter({}, 0, [FrontMatterFault(detail, 0)])
    found = FrontMatter({}, front.end(), [])
    try:
        root = yaml.compose(front.group(1), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        index = error.problem_mark.index if error.problem_mark else 0
        hint = "front matter: not YAML; a value that holds `: ` or `{{` first needs quotes"
        found.faults.append(FrontMatterFault(hint, min(front.start(1) + index, front.end(1))))
        return found
    except (yaml.YAMLError, RecursionError):  # a character that YAML does not have, or a thousand brackets
        found.faults.append(FrontMatterFault("front matter: not YAML", front.start(1)))
        return found
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            _add(found, body, front.start(1), key, value)
    if "subject" not in found.values and all(fault.key != "subject" for fault in found.faults):
        found.faults.append(FrontMatterFault("front matter: `subject` is required, as text", front.start(1)))
    return found


def _add(found: FrontMatter, body: str, start: int, key: yaml.Node, value: yaml.Node) -> None:
    """Add one key and its value, or a fault."""
    name, index = key.value if isinstance(key, yaml.ScalarNode) else "…", start + key.start_mark.index
    if name not in KEYS:
        close = _nearest(name)
        hint = f"did you mean `{close}`?" if close else f"known here: {', '.join(KEYS)}"
        found.faults.append(FrontMatterFault(f"front matter: unknown key `{name}`; {hint}", index, close))
    elif name in found.values or name in found.lists:
        found.faults.append(FrontMatterFault(f"front matter: `{name}` is written twice", index, name))
    elif name == "track":
        _add_track(found, value, index)
    elif not isinstance(value, yaml.ScalarNode) or (value.tag != _TEXT and value.value):
        found.faults.append(FrontMatterFault(f"front matter: `{name}` is not text; put it in quotes", index, name))
    elif is_blank(value.value):
        hint = "it is required" if name == "subject" else "leave it out"
        found.faults.append(FrontMatterFault(f"front matter: `{name}` is empty; {hint}", index, name))
    else:
        found.values[name] = Source(value.value, _place(body, start + value.start_mark.index, value.value))
        if name in MAILBOXES:
            _check_mailbox(found, name)


def _add_track(found: FrontMatter, value: yaml.Node, index: int) -> None:
    """Add what is tracked, or a fault."""
    items = value.value if isinstance(value, yaml.SequenceNode) else [value]
    named = [item.value if isinstance(item, yaml.ScalarNode) else "" for item in items]
    if isinstance(value, yaml.SequenceNode) and set(named) <= set(TRACKED):
        found.lists["track"] = frozenset(named)
    else:
        hint = "not a list of `opens` and `clicks`, such as `[clicks]`; `[]` tracks nothing"
        found.faults.append(FrontMatterFault(f"front matter: `track` is {hint}", index, "track"))


def _nearest(name: str) -> str:
    """The known key most similar to a misspelt one, or an empty text."""
    return next(iter(difflib.get_close_matches(name.replace("-", "_").lower(), KEYS, n=1)), "")


def _place(body: str, start: int, text: str) -> int:
    """Where a value's text begins, after its quote or block mark. With escapes in it: where the value begins."""
    first = text.lstrip().split("\n", 1)[0]
    found = body.find(first, start)
    return found if found >= 0 else start


def _split(source: Source) -> tuple[Source, Source]:
    found = _MAILBOX.fullmatch(source.text)
    if found is None:
        return Source("", source.index), source
    name = _QUOTED.fullmatch(found[1]) or found
    return Source(name[1], source.index + name.start(1)), Source(found[2], source.index + found.start(2))


def _check_mailbox(found: FrontMatter, key: str) -> None:
    """Add a fault if the mailbox is wrong for any data."""
    name, address = found.mailbox(key)
    if _SEVERAL.search(_LIQUID.sub("", name.text)):
        hint = "not one mailbox such as `Shop <mail@shop.example>`"
        found.faults.append(FrontMatterFault(f"front matter: {MAILBOXES[key]}: {hint}", name.index))
    elif not _LIQUID.search(address.text):
        try:
            Mailbox.of("", address.text, MAILBOXES[key])
        except HeaderError as error:
            found.faults.append(FrontMatterFault(f"front matter: {error}", address.index))
