"""Logs: one line per thing that happened, a stable action word first, no personal data.

Everything goes to stderr (stdout is for data): JSON lines when nobody watches, else readable text.
Our own loggers (structlog) and the libraries' (stdlib logging) share one handler and so one format
and one redaction. Field names decide what is hidden: see `redact`.
"""

import logging
import os
import re
import socket
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from engine.settings import Settings

HIDDEN: Final = "[hidden]"
OWN_LOGGERS: Final = ("engine", "triggers", "schemas")
_SENSITIVE: Final = frozenset(
    {
        "anonymous",
        "apikey",
        "authorization",
        "bearer",
        "cookie",
        "credential",
        "email",
        "jwt",
        "password",
        "phone",
        "profile",
        "secret",
        "token",
        "user",
        "userid",
    }
)
_DEPTH_MAX: Final = 4
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_URL_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]+@")
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")


def setup_logging(settings: Settings, role: str, stream: TextIO | None = None) -> None:
    """Configure structlog and stdlib logging of this process; safe to call again.

    `role` and the instance are part of every line. `stream` defaults to stderr.
    """
    target = stream or sys.stderr
    console = settings.log_format == "console" or (
        settings.log_format == "auto" and target.isatty()
    )
    instance = settings.instance or f"{socket.gethostname()}:{os.getpid()}"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _constant({"role": role, "instance": instance}),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # A cached logger would keep an earlier set-up, and lines are rare on the hot path.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_console(target.isatty()) if console else _json()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(settings.log_level.upper())


def setup_command_logs() -> None:
    """For short commands: our warnings on stderr; what they do they say themselves."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.EventRenamer("action"),
            redact,
            structlog.dev.ConsoleRenderer(event_key="action", colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def _json() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("action"),
        _action_first,
        redact,
        structlog.processors.JSONRenderer(serializer=_dumps),
    ]


def _action_first(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    head = {name: event[name] for name in ("timestamp", "level", "action") if name in event}
    return {**head, **event}


def _console(colors: bool) -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("action"),
        redact,
        structlog.dev.ConsoleRenderer(event_key="action", colors=colors),
    ]


def _dumps(event: Mapping[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


def _constant(fields: Mapping[str, str]) -> Processor:
    def add(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        for name, value in fields.items():
            event.setdefault(name, value)
        return event

    return add


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Hide what must not be written down: a structlog processor.

    A field is hidden when a word of its name says so (`device_token`, `userId`, `password`). A
    plural (`tokens`, `users`) may carry a number. Logins in addresses and authorization headers are
    cut out of every text, a library's message or a traceback included.
    """
    return {name: _safe(name, value, 0) for name, value in event.items()}


def _safe(name: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    words = [word.lower() for word in _WORD.findall(name)]
    # A record's key is a user id; a `key_id` or a `key_prefix` is not.
    if any(word in _SENSITIVE for word in words) or words[-1:] == ["key"]:
        return HIDDEN
    if isinstance(value, int | float):
        return value
    if any(word.removesuffix("s") in _SENSITIVE for word in words):
        return HIDDEN
    if isinstance(value, str):
        return _BEARER.sub(rf"\1 {HIDDEN}", _URL_LOGIN.sub(f"{HIDDEN}@", value))
    if depth >= _DEPTH_MAX:
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): _safe(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe("", item, depth + 1) for item in value]
    return _safe("", repr(value), depth)
