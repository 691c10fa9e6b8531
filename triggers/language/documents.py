"""Documents with their places in files, for checks of the whole set."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.brands import Brand
from schemas.endpoints import Endpoint
from triggers.language.diagnostics import Report
from triggers.language.expressions import ExpressionUse
from triggers.language.yaml_tree import MappingNode, SequenceNode
from triggers.rules.rule import Policy, Trigger


@dataclass(frozen=True, slots=True)
class _Document:
    report: Report
    node: MappingNode

    def place(self, key: str, number: int = 0) -> int:
        """The index of a key's value, or of one item of its list; the start of the document if the key is missing."""
        node = self.node.items.get(key)
        if node is None:
            return self.node.index
        return node.items[number].index if isinstance(node, SequenceNode) and number < len(node.items) else node.index


@dataclass(frozen=True, slots=True)
class TriggerDocument(_Document):
    """One trigger."""

    uses: Sequence[ExpressionUse]
    trigger: Trigger


@dataclass(frozen=True, slots=True)
class PolicyDocument(_Document):
    """One policy."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class BrandDocument(_Document):
    """One brand."""

    brand: Brand


@dataclass(frozen=True, slots=True)
class EndpointDocument(_Document):
    """One endpoint."""

    endpoint: Endpoint

    def secret_place(self, name: str) -> int:
        """Where the document names a secret: the one that signs, or else the headers."""
        signing = self.endpoint.secrets
        return self.place("secrets", signing.index(name)) if name in signing else self.place("headers")
