"""The rule that scenarios of webhooks share: an endpoint hears of each order."""

from typing import Any

from drivers.webhook_receiver import SECRET

from triggers.language.diagnostics import SourceFile

SETTINGS: dict[str, Any] = {"webhook_secrets": {"signing": SECRET}, "webhook_private_hosts": ["127.0.0.1"]}
"""Delivery has the secret of the endpoint, and may call the receiver of the test."""


def tell(url: str, endpoint: str = "crm", **keys: object) -> SourceFile:
    """The rule `tell-ENDPOINT` with the document of its endpoint, which has `keys` besides."""
    fields = {"url": url, "secrets": "signing", "timeout": "30s"} | keys
    rule = f"trigger: tell-{endpoint}\npurpose: sales\non: order_completed\n"
    rule += f"send: {{webhook: {endpoint}, data: {{order: event.order_id}}}}\n---\nendpoint: {endpoint}\n"
    return SourceFile(f"{endpoint}.yaml", rule + "".join(f"{key}: {value}\n" for key, value in fields.items()))
