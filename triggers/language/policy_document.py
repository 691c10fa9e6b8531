"""The document `policy`."""

from schemas.wording import quoted
from triggers.language import keys, values
from triggers.language.diagnostics import Problem
from triggers.language.document_reader import DocumentReader
from triggers.language.limits import read_budget, read_caps, read_holdout, read_quiet
from triggers.language.yaml_tree import Node
from triggers.rules.rule import Policy

_LIMITS = tuple(name for name in keys.names("policy") if name not in ("policy", "for"))
_FOR = "{purpose: marketing}, or {} for everybody"


def read_policy(document: DocumentReader, node: Node) -> Policy:
    """The document of one policy."""
    mapping = document.mapping(node, "policy", "policy")
    name = mapping.required("policy", lambda n: values.name(n, "a policy's name"), "")
    purpose, channel, brand = mapping.required("for", lambda n: _for(document, n), (None, None, None))
    if not any(key in mapping for key in _LIMITS):
        message = f"the policy {quoted(name)} limits nothing"
        raise Problem(mapping.node.index, "missing-key", message, f"add one of {', '.join(_LIMITS)}")
    return Policy(
        name,
        purpose,
        channel,
        brand,
        read_caps(document, mapping, scope_required=True),
        read_quiet(document, mapping),
        read_holdout(mapping),
        mapping.optional("expires", lambda n: values.duration(n, "expires"), None),
        read_budget(document, mapping, f"policy/{name}"),
    )


def _for(document: DocumentReader, node: Node) -> tuple[str | None, str | None, str | None]:
    mapping = document.mapping(node, "for", "FOR", example=_FOR)
    return (
        mapping.optional("purpose", lambda n: values.name(n, "a purpose"), None),
        mapping.optional("channel", lambda n: values.name(n, "a channel"), None),
        mapping.optional("brand", document.brand, None),
    )
