"""What a value of a setting must look like: types that refuse with words, for `engine.settings`."""

from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

REDIS_SCHEMES: Final = ("redis", "rediss", "redis+cluster", "rediss+cluster")
REDIS_PORT: Final = 6379
SECRET_CHARACTERS_MIN: Final = 16


def _servers(value: str) -> str:
    """A comma-separated list of host:port, without blanks."""
    servers = [part.strip() for part in value.split(",") if part.strip()]
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise ValueError(f"'{server}' is not host:port")
    if not servers:
        raise ValueError("names no server")
    return ",".join(servers)


def _redis_url(value: str) -> str:
    # The value may hold a password, so no message repeats it.
    parts = urlsplit(value)
    if parts.scheme not in REDIS_SCHEMES:
        raise ValueError(f"must start with one of {', '.join(s + '://' for s in REDIS_SCHEMES)}")
    hosts = redis_hosts(parts)
    for host in hosts:
        name, _, port = host.partition(":")
        if not name or (port and not port.isdecimal()):
            raise ValueError("is not scheme://[user:password@]host[:port]")
    if len(hosts) > 1 and not parts.scheme.endswith("+cluster"):
        raise ValueError("names several hosts, which only a +cluster address may")
    return value


def redis_hosts(parts: SplitResult) -> list[str]:
    """host[:port] of each server in the address."""
    return parts.netloc.rpartition("@")[2].split(",")


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http:// or https:// address")
    return value.rstrip("/")


def _weights(value: object) -> object:
    return tuple(value.split(":")) if isinstance(value, str) else value


def _off(value: object) -> object:
    return None if isinstance(value, str) and value.lower() == "off" else value


def _secret_length(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value.get_secret_value()) < SECRET_CHARACTERS_MIN:
        raise ValueError(f"must have at least {SECRET_CHARACTERS_MIN} characters")
    return value


Servers = Annotated[str, AfterValidator(_servers)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
LongSecret = Annotated[SecretStr | None, AfterValidator(_secret_length)]
Weight = Annotated[int, Field(ge=1, le=1_000)]
Weights = Annotated[tuple[Weight, Weight, Weight], NoDecode, BeforeValidator(_weights)]
Seconds = Annotated[float, Field(gt=0, le=3_600)]
Port = Annotated[int, Field(ge=0, le=65_535)]
PortOrOff = Annotated[Port | None, BeforeValidator(_off)]
