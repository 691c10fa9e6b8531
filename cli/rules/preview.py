"""`ebbtide preview`: renders a template for one user.

Sample data comes from the rules beside the template: from their first case that sends it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.rules.case_mails import fault_words
from cli.rules.rule_files import NothingFound
from cli.rules.rule_folder import read_folder
from cli.text_files import read_json, read_text
from schemas.codec import DecodeError, validate
from schemas.errors import UserError
from schemas.profiles import Profile
from schemas.vocabulary import DeliveryReason
from schemas.wording import counted, quoted
from senders.content.mail_builder import content_of
from senders.content.recipient import Recipient
from senders.content.render import Content, Template, TemplateError, parse_template
from triggers.cases.case_runner import run_case
from triggers.language.diagnostics import InvalidRules
from triggers.loader import load_rules
from triggers.rules.rule import Send


class PreviewError(UserError):
    """The template or its data cannot be used; the message says what to give instead."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The data and user of a template, and where they came from, in a few words."""

    data: dict[str, Any]
    user: Recipient
    origin: str
    unread: str = ""
    """The first fault of the rules beside the template, if they do not load and so no case gives data."""


_NO_CASE = "the rules beside it do not load ({}); `ebbtide check` shows what to fix"


@dataclass(frozen=True, slots=True)
class _CaseSample:
    """The sample that a case beside a template gives, or why the rules there cannot be read."""

    sample: Sample | None = None
    unread: str = ""


def read_template(file: Path) -> Template:
    """The template in a file; raises PreviewError with its fault, FileNotFoundError or UnreadableFile."""
    with faults_of(file):
        return parse_template(file.stem, template_text(file))


def template_text(file: Path) -> str:
    """The text of a template; raises FileNotFoundError or UnreadableFile."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such template; name its file, as in mine/templates/welcome.liquid")
    return read_text(file)


@contextmanager
def faults_of(file: Path, sample: Sample | None = None) -> Iterator[None]:
    """Turns a fault of the template into a PreviewError with its line. If the rules of the sample do not load, the
    message about a missing variable says so."""
    try:
        yield
    except TemplateError as error:
        line = template_text(file).count("\n", 0, error.index) + 1
        words = fault_words(error, "--user")
        if sample is not None and sample.unread and error.reason is DeliveryReason.UNDEFINED:
            words = f"{quoted(error.detail)} is missing: {_NO_CASE.format(sample.unread)}; or give --data and --user"
        raise PreviewError(f"{file}:{line}: {words}") from None


def sample_for(template: Path, user: Path | None, data: Path | None) -> Sample:
    """The data and user for the template: from the files, or else from a case of the rules beside it."""
    found = _from_cases(template) if data is None or user is None else _CaseSample()
    case = found.sample or Sample({}, _recipient("u1", {}), _no_case(found))
    return Sample(
        case.data if data is None else _object(data),
        case.user if user is None else _user(user),
        case.origin if data is None else f"data of {data}",
        found.unread,
    )


def _no_case(found: _CaseSample) -> str:
    return (
        f"no data: {_NO_CASE.format(found.unread)}"
        if found.unread
        else "no data: no case of the rules beside it sends this template"
    )


def _from_cases(template: Path) -> _CaseSample:
    """The data and the user of the first case that sends the template; or why the rules do not load."""
    parent = template.parent.parent if template.parent.name == "templates" else template.parent
    try:
        folder = read_folder(parent, may_be_empty=True)
        rules = load_rules(folder.rules, folder.template_hashes())
    except NothingFound as error:
        return _CaseSample(unread=str(error))
    except InvalidRules as error:
        return _CaseSample(unread=_first_fault(error))
    for trigger in rules.declared.values():
        if template.stem not in {step.template for step in trigger.steps if isinstance(step, Send)}:
            continue
        for case in trigger.cases:
            for sent in run_case(rules, trigger, case).sent:
                if sent.message.template == template.stem:
                    user = _recipient("u1", sent.profile.attributes, sent.profile.zone, sent.profile.locale)
                    return _CaseSample(
                        Sample(sent.message.data, user, f"data of the case “{case.name}” of {trigger.name}")
                    )
    return _CaseSample()


def _first_fault(error: InvalidRules) -> str:
    """The first problem with its place, and the number of further ones."""
    first, more = error.diagnostics[0], len(error.diagnostics) - 1
    others = f", and {counted(more, 'more problem')}" if more else ""
    return f"{first.path}:{first.line}: {first.message}{others}"


def _recipient(
    user_id: str, attributes: dict[str, Any], zone: str | None = None, locale: str | None = None
) -> Recipient:
    return Recipient(user_id, None, zone, locale, attributes, {})


def _user(file: Path) -> Recipient:
    """Reads a user from a file: a profile as it is published, or only attributes."""
    found = _object(file)
    if "user_id" not in found:
        return _recipient("u1", found)
    try:
        profile = validate(Profile, found)
    except DecodeError as error:
        raise PreviewError(f"{file}: not a profile: {error.detail}") from None
    return _recipient(profile.user_id, profile.attributes, profile.zone, profile.locale)


def _object(file: Path) -> dict[str, Any]:
    """Reads a JSON object from a file, or from standard input for `-`."""
    if str(file) != "-" and not file.exists():
        raise FileNotFoundError(f"{file}: no such file")
    found = read_json(file)
    if not isinstance(found, dict):
        raise PreviewError(f"{file}: not a JSON object")
    return found


def render(file: Path, sample: Sample) -> Content:
    """Renders the mail of the template in a file; raises PreviewError with the place of a fault."""
    template = read_template(file)
    with faults_of(file, sample):
        return content_of(template, sample.data, sample.user.user_id, sample.user, datetime.now(UTC))


def show(console: Console, content: Content, sample: Sample) -> None:
    """Prints the sender, the subject and the text."""
    if content.sender is not None:
        console.print(f"From:     {content.sender.shown}", markup=False, soft_wrap=True)
    if content.reply_to is not None:
        console.print(f"Reply-To: {content.reply_to.shown}", markup=False, soft_wrap=True)
    console.print(f"Subject:  {content.subject}", markup=False, soft_wrap=True)
    console.print(f"{sample.origin}; for other data: --data FILE", style="dim", markup=False, soft_wrap=True)
    console.print()
    console.print(content.text.strip(), markup=False, soft_wrap=True)


def as_json(content: Content) -> dict[str, Any]:
    """The content as JSON values."""
    mailboxes = {"from": content.sender, "reply_to": content.reply_to}
    heads = {key: asdict(each) if each else None for key, each in mailboxes.items()}
    return {**heads, "subject": content.subject, "text": content.text, "html": content.html}
