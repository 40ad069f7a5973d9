"""Commands set logging up for a process of their own; a test runs them in pytest's."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_kept() -> Iterator[None]:
    """Handlers, levels and structlog's set-up are afterwards what they were before."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    names = (None, "aiokafka", "engine", "triggers", "schemas")
    levels = {name: logging.getLogger(name).level for name in names}
    config = structlog.get_config() if structlog.is_configured() else None
    yield
    root.handlers[:] = handlers
    logging.captureWarnings(False)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()
    if config is not None:
        structlog.configure(**config)
