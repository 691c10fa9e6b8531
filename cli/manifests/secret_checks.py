"""Whether delivery has the secrets that new endpoints name. Only names are compared."""

from collections.abc import Collection

from cli.manifests.publication import PublicationPlan
from schemas.endpoints import Endpoint
from schemas.errors import UserError

SETTING = "EBBTIDE_WEBHOOK_SECRETS"


class MissingSecret(UserError):
    """An endpoint names a secret that delivery does not have."""


def require_secrets(plan: PublicationPlan, known: Collection[str] | None) -> None:
    """Raises MissingSecret if a new or changed endpoint names a secret that is not among those `known`.

    Where this machine knows none (None), delivery may have them: `check` warns.
    """
    if known is None:
        return
    named = {secret: endpoint.name for endpoint in _changed(plan) for secret in reversed(endpoint.secret_names)}
    missing = {secret: endpoint for secret, endpoint in named.items() if secret not in known}
    if missing:
        secret, endpoint = min(missing.items())
        raise MissingSecret(
            f"endpoint {endpoint}: the secret {secret} is not in {SETTING}; "
            "add it to the settings of delivery, and here, then run this again"
        )


def _changed(plan: PublicationPlan) -> list[Endpoint]:
    changed = {each.name for each in plan.changes if each.kind == "endpoint" and each.what != "removed"}
    return [endpoint for name, endpoint in plan.load().endpoints.items() if name in changed] if changed else []
