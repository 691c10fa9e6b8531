"""Structured logs: each line on standard error is one JSON object, from our own code and from every library."""

import logging
import sys
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

log = structlog.get_logger()


def configure_logging(**always: Any) -> None:
    """Writes each line as one JSON object with `event`, `level`, `timestamp` and the fields of `always`.

    Libraries log warnings only. Faust's loggers get that level too, and not only the handler: Faust leaves the root at
    DEBUG, and would make several records for each event and throw them away.
    """

    def add(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {"event": event.pop("event"), **always, **event}

    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        add,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # not PrintLogger: it writes the line's end separately, and another worker's line could come between
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    render: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=render, foreign_pre_chain=shared))
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _crashed


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("crashed", exc_info=(kind, error, trace))
