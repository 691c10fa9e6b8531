"""The mails of cases: each send's template rendered with its data, so that one that would fail fails its case."""

from dataclasses import replace
from functools import cache

from infra.apply import Folder
from schemas.vocabulary import DeliveryReason
from senders.mailing import user_names
from senders.pipeline import Recipient
from senders.render import Template, TemplateError, parse_template
from triggers.casefile import CaseResult, Sent
from triggers.diagnostics import quoted


class CaseMails:
    """The templates of a folder, each compiled when a case first sends it."""

    def __init__(self, folder: Folder) -> None:
        self._files = folder.templates
        self._compiled = cache(self._compile)

    @property
    def given(self) -> bool:
        """Whether there is any template; without one nothing can be rendered."""
        return bool(self._files)

    def rendered(self, result: CaseResult) -> CaseResult:
        """The case's result, failed by each of its mails that cannot be made."""
        wrong = [f"! {sent.at} send {sent.step}: {why}" for sent in result.sent if (why := self._fault(sent))]
        return replace(result, passed=False, diff=(*result.diff, *wrong)) if wrong else result

    def _fault(self, sent: Sent) -> str:
        """Where and why the mail cannot be made; nothing where it can, or its template is not there."""
        name, profile = sent.message.template, sent.profile
        if name not in self._files:
            return ""
        recipient = Recipient(profile.user_id, None, profile.zone, profile.locale, profile.attributes, {})
        try:
            self._compiled(name).render(sent.message.data, user_names(profile.user_id, recipient))
        except TemplateError as error:
            file = self._files[name]
            line = file.text.count("\n", 0, error.index) + 1
            return f"{file.path}:{line}: {_words(error)}"
        return ""

    def _compile(self, name: str) -> Template:
        return parse_template(name, self._files[name].text)


def _words(error: TemplateError) -> str:
    if error.reason is DeliveryReason.UNDEFINED:
        gives = "the case's `user`" if error.detail.startswith("user.") else "the rule's `data`"
        return f"{quoted(error.detail)} is missing; {gives} can give it, or the template a `default`"
    if error.reason is DeliveryReason.RENDER_LIMIT:
        return f"this takes more than a mail may ({error.detail})"
    return f"this cannot be rendered ({error.detail})"
