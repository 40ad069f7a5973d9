import io
import json
import logging
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog

from engine.logs import OWN_LOGGERS, setup_logging
from engine.settings import Settings


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    levels = {name: logging.getLogger(name).level for name in OWN_LOGGERS}
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    for name, own in levels.items():
        logging.getLogger(name).setLevel(own)
    logging.captureWarnings(False)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def start(
    stream: io.StringIO, log_format: Literal["auto", "json", "console"] = "auto"
) -> structlog.stdlib.BoundLogger:
    setup_logging(Settings(log_format=log_format, instance="w-1"), "worker", stream)
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("engine.test")
    return logger


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_without_a_terminal_a_line_is_json_with_action_role_and_instance() -> None:
    stream = io.StringIO()
    start(stream).info("shard_opened", shard=3)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "action": "shard_opened",
        "shard": 3,
        "level": "info",
        "logger": "engine.test",
        "role": "worker",
        "instance": "w-1",
    }


def test_on_a_terminal_a_line_is_text() -> None:
    stream = Terminal()
    start(stream).info("shard_opened", shard=3)
    assert "shard_opened" in stream.getvalue()
    with pytest.raises(json.JSONDecodeError):
        json.loads(stream.getvalue())


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_fields_named_like_personal_data_are_hidden(
    log_format: Literal["json", "console"],
) -> None:
    stream = io.StringIO()
    start(stream, log_format).info(
        "x",
        user="hunter2",
        userId="hunter2",
        device_token="hunter2",
        tokens=["hunter2"],
        log_secret="hunter2",
        key=b"hunter2",
        nested={"deep": [{"password": "hunter2"}]},
        url="redis://me:hunter2@host:1/0",
        text="Authorization: Bearer hunter2-hunter2",
        deep={"a": {"b": {"c": {"d": {"e": "hunter2"}}}}},
    )
    assert "hunter2" not in stream.getvalue()
    assert "host:1/0" in stream.getvalue()


def test_numbers_of_tokens_and_names_of_keys_stay_readable() -> None:
    stream = io.StringIO()
    start(stream).info("x", tokens=3, users=4, key_id="ABC", key_prefix="p", user=7)
    (line,) = lines(stream)
    assert [line[name] for name in ("tokens", "users", "key_id", "key_prefix")] == [
        3,
        4,
        "ABC",
        "p",
    ]
    assert line["user"] == "[hidden]"


def test_libraries_speak_from_warning_on_in_the_same_format() -> None:
    stream = io.StringIO()
    start(stream)
    logging.getLogger("aiokafka.consumer").info("quiet")
    logging.getLogger("faust").warning("login at %s", "redis://me:hunter2@h")
    (line,) = lines(stream)
    assert line["action"] == "login at redis://[hidden]@h"
    assert (line["logger"], line["role"]) == ("faust", "worker")


def test_a_traceback_is_one_field_and_holds_no_login() -> None:
    stream = io.StringIO()
    logger = start(stream)
    try:
        raise ConnectionError("redis://me:hunter2@h is away")
    except ConnectionError:
        logger.exception("task_failed", task="t")
    (line,) = lines(stream)
    assert "ConnectionError: redis://[hidden]@h is away" in line["exception"]


def test_the_level_setting_counts_for_our_own_loggers_only() -> None:
    stream = io.StringIO()
    setup_logging(Settings(log_level="debug"), "worker", stream)
    structlog.get_logger("engine.x").debug("seen")
    logging.getLogger("aiohttp").info("unseen")
    assert [line["action"] for line in lines(stream)] == ["seen"]


def test_setting_up_twice_does_not_double_the_lines() -> None:
    stream = io.StringIO()
    start(stream)
    start(stream).info("once")
    assert len(lines(stream)) == 1
