"""How every Kafka client of ours reaches the brokers: addresses and credentials, nothing else."""

import ssl
from typing import Any, Final

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
