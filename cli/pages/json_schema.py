"""JSON Schema of what is on the topics, written from the models."""

from pathlib import Path

import orjson

from schemas.topics import TOPICS
from schemas.types import Fact


def schema_files() -> dict[str, bytes]:
    """A file name and its JSON Schema (draft 2020-12) for each model on a topic."""
    return {f"{topic.name}.{model.__name__}.json": _schema(model) for topic in TOPICS for model in topic.models}


def write_schemas(folder: Path) -> list[Path]:
    """Writes every schema into `folder` and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in schema_files().items():
        (folder / name).write_bytes(text)
        written.append(folder / name)
    return written


def _schema(model: type[Fact]) -> bytes:
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema(mode="serialization")}
    return orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n"
