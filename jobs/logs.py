"""Log lines of every process: a JSON object each on stdout, or text for people at a terminal.

All records go one way, those of structlog, of `logging`, of Celery and uvicorn, and Python's warnings. Each
has `timestamp`, `level`, `logger`, `event` and `process`, and what is bound to the work at hand: `job`,
`tenant`, `attempt`, `worker`, `request_id`, `trace_id`, `span_id`. docs/observability.md lists the fields.

Nothing here may be a secret or what a caller wrote: keys, signatures and passwords are struck out of every
line on its way, and errors of the database do not show their parameters.
"""

import logging
import re
import sys
import threading
from types import TracebackType
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from jobs import tracing
from jobs.settings import Settings

# They tell of every call with its whole URL, or of every message; heard from warnings on.
TALKATIVE = (
    *("boto3", "botocore", "httpcore", "httpx", "httpx2", "s3transfer", "urllib3"),
    *("celery.app.trace", "celery.worker.strategy"),
)

_SECRET = re.compile(
    r"(?P<key>\bsgk_[A-Za-z0-9]+_[A-Za-z0-9]+_)[A-Za-z0-9]+"
    r"|(?P<hook>\bwhsec_)[A-Za-z0-9+/=_-]+"
    r"|(?P<field>(?:signature|credential|security-token|password|secret|token|access_?key(?:_?id)?)=)[^&\s\"'\\]+"
    r"|(?P<user>://[^:/@\s\"'\\]*:)[^@/\s\"'\\]+(?=@)"
    r"|(?P<bearer>\bBearer\s+)[^\s\"'\\]+",
    re.IGNORECASE,
)

_MARKS = ("sgk_", "whsec_", "=", "://", "bearer")  # without any of these there is no secret, and no search

logger = logging.getLogger("ganserve")


def set_up_logs(settings: Settings, process: str, stream: TextIO = sys.stdout) -> None:
    """Send all that this process logs to `stream`, in the format that the settings name."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not stream.isatty())
    about: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _process(process),
        _trace,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *about,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=about,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_json() if as_json else _console(stream)),
                _without_secrets,
            ],
        )
    )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda given: _uncaught(given.exc_type, given.exc_value, given.exc_traceback)


def _json() -> list[Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dumps)]


def _console(stream: TextIO) -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]


def _dumps(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


def _process(name: str) -> Processor:
    def add(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        event["process"] = name
        return event

    return add


def _trace(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    trace = tracing.current()
    if trace is not None:
        event["trace_id"], event["span_id"] = trace.trace_id, trace.span_id
    return event


def _without_secrets(logger: WrappedLogger, method: str, line: Any) -> str:
    """The last step: by now the event is its line."""
    return without_secrets(line)


def without_secrets(line: str) -> str:
    """`line` with keys, signatures and passwords struck out."""
    small = line.lower()
    if not any(mark in small for mark in _MARKS):
        return line
    return _SECRET.sub(lambda found: f"{found[found.lastgroup or 0]}***", line)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or issubclass(kind, (KeyboardInterrupt, SystemExit)):
        return
    logger.critical("uncaught exception", exc_info=(kind, error, trace))
