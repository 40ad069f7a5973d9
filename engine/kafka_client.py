"""How every Kafka client of ours reaches the brokers: addresses, credentials, and how a connection
is lost."""

import ssl
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, RequestTimedOutError
from aiokafka.helpers import create_ssl_context

from engine.settings import Settings

KAFKA_AWAY: Final = (KafkaConnectionError, KafkaTimeoutError, RequestTimedOutError, OSError)
"""No broker answers now; waiting may help. Other errors (rights, versions) will not go away."""


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for an aiokafka consumer, producer or admin client.

    Raises OSError or ssl.SSLError when a certificate file cannot be used.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_servers.split(","),
        "security_protocol": settings.kafka_protocol,
        "ssl_context": ssl_context(settings),
    }
    if settings.kafka_protocol.startswith("SASL"):
        password = settings.kafka_password
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_user
        options["sasl_plain_password"] = password.get_secret_value() if password else None
    return options


def expect_uvloop() -> None:
    """Let aiokafka understand how uvloop says that a connection was lost. Before anybody connects.

    Between the loss and the end of its reader a request is written to a closed transport. asyncio
    drops it; uvloop raises RuntimeError, which nothing in aiokafka 0.14 expects: it ends the task
    that renews metadata, whoever looks for a group's coordinator then waits for good, and a
    consumer that goes on reading commits nothing more (a delivery worker after `kill -9` of its
    broker, its three of five consumers).
    """
    for name in ("send", "_send_sasl_token"):
        send = getattr(AIOKafkaConnection, name)
        if not hasattr(send, "__wrapped__"):
            setattr(AIOKafkaConnection, name, _losing(send))


def _losing(send: Callable[..., Any]) -> Callable[..., Any]:
    """The request of a connection, or KafkaConnectionError where its transport has closed."""

    @wraps(send)
    def sending(connection: Any, *args: Any, **options: Any) -> Any:
        try:
            return send(connection, *args, **options)
        except RuntimeError as error:
            writer = connection._writer
            if writer is None or not writer.is_closing():
                raise
            connection.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
            raise KafkaConnectionError(f"the connection was lost: {error}") from error

    return sending


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS side of the connection, None without TLS. Host names are always verified."""
    if not settings.kafka_protocol.endswith("SSL"):
        return None
    context: ssl.SSLContext = create_ssl_context(
        cafile=settings.kafka_ca_file,
        certfile=settings.kafka_cert_file,
        keyfile=settings.kafka_key_file,
    )
    return context
