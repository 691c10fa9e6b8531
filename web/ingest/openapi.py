"""What ingest takes and answers, as OpenAPI 3.1 made of these models. Reading itself takes more than they ask for: a
number as an id, or a field that has no place here."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.json_schema import models_json_schema

from web.ingest.paths import CallKind

REFERENCE = "#/components/schemas/{model}"
Text = Annotated[str, Field(min_length=1, max_length=256)]


class _CallBody(BaseModel):
    """What every call of Segment's HTTP Tracking API may hold. One of the two ids is needed."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow")

    user_id: Text | None = None
    anonymous_id: Text | None = None
    message_id: Annotated[Text | None, Field(description="Makes a repeat known. Unique within the key's source.")] = (
        None
    )
    timestamp: AwareDatetime | None = None
    original_timestamp: AwareDatetime | None = None
    sent_at: AwareDatetime | None = None
    context: dict[str, Any] = Field(default_factory=dict)


class TrackBody(_CallBody):
    """Something that a user did, or that concerns no user."""

    event: Text
    properties: dict[str, Any] = Field(default_factory=dict)


class PageBody(_CallBody):
    """A page or screen that a user saw."""

    name: str | None = None
    category: str | None = None
    properties: dict[str, Any] = Field(default_factory=dict)


class IdentifyBody(_CallBody):
    """What is known of a user. With both ids, the visitor is this user from then on."""

    traits: dict[str, Any] = Field(default_factory=dict)


class GroupBody(_CallBody):
    """The group that a user joined."""

    group_id: Text | None = None
    traits: dict[str, Any] = Field(default_factory=dict)


class AliasBody(_CallBody):
    """An earlier id of a user."""

    user_id: Text
    previous_id: Text


class BatchBody(BaseModel):
    """Several calls, each with its `type`."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow")

    batch: list[dict[str, Any]]
    sent_at: AwareDatetime | None = None
    context: Annotated[dict[str, Any], Field(description="Counts for each item, whose own members come first.")] = (
        Field(default_factory=dict)
    )
    write_key: str | None = None


class CloudEventBody(BaseModel):
    """An event of CloudEvents 1.0 in JSON. `subject` is the user; only an event that concerns no user lacks it."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    id: Text
    source: Text
    type: Text
    subject: Text | None = None
    time: AwareDatetime | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class RefusedItem(BaseModel):
    """An item that is not taken."""

    index: int
    field: str
    reason: str


class KeptBody(BaseModel):
    """All items but the refused ones are durable. At most 100 of these are listed."""

    success: bool
    refused: list[RefusedItem]
    refused_items: int


class FailureBody(BaseModel):
    """Nothing of the call is taken. `field` says where the mistake is."""

    success: Literal[False]
    field: str
    code: int
    message: str


_BODIES: dict[CallKind, type[BaseModel]] = {
    CallKind.TRACK: TrackBody,
    CallKind.PAGE: PageBody,
    CallKind.SCREEN: PageBody,
    CallKind.IDENTIFY: IdentifyBody,
    CallKind.GROUP: GroupBody,
    CallKind.ALIAS: AliasBody,
    CallKind.BATCH: BatchBody,
    CallKind.CLOUD_EVENTS: CloudEventBody,
}
_FAILURES = {
    400: "Nothing can be read, or every item is refused.",
    401: "No valid write key.",
    403: "The write key does not serve pages of this origin.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body has another encoding than gzip.",
    429: "Too much now. `Retry-After` says when to come again.",
    503: "A server is away. The call may have been taken: send it again with the same ids, after `Retry-After`.",
}


@cache
def openapi() -> dict[str, Any]:
    """The document."""
    answers: tuple[type[BaseModel], ...] = (KeptBody, FailureBody)
    models = [(model, "validation") for model in dict.fromkeys((*_BODIES.values(), *answers))]
    _, schemas = models_json_schema(models, ref_template=REFERENCE)  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ebbtide ingest", "version": "1"},
        "paths": {_path(call): {"post": _operation(call, model)} for call, model in _BODIES.items()},
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "writeKey": {"type": "http", "scheme": "basic", "description": "The key as user name."}
            },
        },
        "security": [{"writeKey": []}],
    }


def _path(call: CallKind) -> str:
    return "/v1/events" if call is CallKind.CLOUD_EVENTS else f"/v1/{call}"


def _operation(call: CallKind, model: type[BaseModel]) -> dict[str, Any]:
    media: dict[str, Any] = {"application/json": {"schema": _reference(model)}}
    if call is CallKind.CLOUD_EVENTS:
        media = {
            "application/cloudevents+json": {"schema": _reference(model)},
            "application/cloudevents-batch+json": {"schema": {"type": "array", "items": _reference(model)}},
        }
    kept = {"description": "Durable, but for the refused items.", "content": _json(KeptBody)}
    failures = {str(status): _failure(status, text) for status, text in _FAILURES.items()}
    return {
        "operationId": str(call),
        "summary": (model.__doc__ or "").splitlines()[0],
        "requestBody": {"required": True, "content": media},
        "responses": {"200": kept, **failures},
    }


def _failure(status: int, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {"description": text, "content": _json(FailureBody)}
    if status in (429, 503):
        found["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return found


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(model)}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}
