"""`ebbtide preview`: renders a template for one user, as its brand sends it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.rules.case_mails import fault_words
from cli.rules.rule_files import RULE_SUFFIXES
from cli.rules.samples import NO_CASE, PreviewError, Sample
from cli.text_files import read_text
from schemas.brands import Brand
from schemas.vocabulary import DeliveryReason
from schemas.wording import quoted
from senders.content.mail_builder import content_of, mailboxes_of
from senders.content.message import Mailbox
from senders.content.render import Content, Template, TemplateError, parse_template

_HEADERS = {"from": "From", "reply_to": "Reply-To"}


def read_template(file: Path) -> Template:
    """The template in a file; raises PreviewError with its fault, FileNotFoundError or UnreadableFile."""
    with faults_of(file):
        return parse_template(file.stem, template_text(file))


def template_text(file: Path) -> str:
    """The text of a template; raises FileNotFoundError, UnreadableFile, or PreviewError for a rule file."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such template; name its file, as in mine/templates/welcome.liquid")
    if file.suffix in RULE_SUFFIXES:
        wanted = "name a template's file, as in mine/templates/welcome.liquid"
        raise PreviewError(f"{file}: a rule file, not a template; {wanted}")
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
            words = f"{quoted(error.detail)} is missing: {NO_CASE.format(sample.unread)}; or give --data and --user"
        raise PreviewError(f"{file}:{line}: {words}") from None


def render(file: Path, sample: Sample) -> Content:
    """Renders the mail of the template in a file; raises PreviewError with the place of a fault."""
    template = read_template(file)
    with faults_of(file, sample):
        return content_of(template, sample.data, sample.user.user_id, sample.user, datetime.now(UTC))


def show(console: Console, content: Content, sample: Sample) -> None:
    """Prints the sender, the subject and the text."""
    for key, mailbox in mailboxes(content, sample.brand).items():
        if mailbox is not None:
            console.print(f"{f'{_HEADERS[key]}:':<9} {mailbox.shown}", markup=False, soft_wrap=True)
    console.print(f"Subject:  {content.subject}", markup=False, soft_wrap=True)
    console.print(f"{sample.origin}; for other data: --data FILE", style="dim", markup=False, soft_wrap=True)
    console.print()
    console.print(content.text.strip(), markup=False, soft_wrap=True)


def mailboxes(content: Content, brand: Brand | None) -> dict[str, Mailbox | None]:
    """Who sends the mail and who gets the answers: as the template says, or else the brand."""
    sender, reply_to = (None, None) if brand is None else mailboxes_of(brand)
    return {"from": content.sender or sender, "reply_to": content.reply_to or reply_to}


def as_json(content: Content, brand: Brand | None = None) -> dict[str, Any]:
    """The content as JSON values."""
    heads = {key: asdict(each) if each else None for key, each in mailboxes(content, brand).items()}
    return {**heads, "subject": content.subject, "text": content.text, "html": content.html}
