"""Every setting of every role: environment variables `TRIPLINE_*`, read once, never changed.

`Settings` declares them, `load_settings` reads them and refuses with the name of each wrong one,
`describe_settings` lists them. A setting that is not given, or given as an empty string, has its
default. The unit is in the name: `_s` seconds, `_ms` milliseconds, `_max` an upper bound.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticUndefined
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from engine.settings_values import (
    HttpUrl,
    LongSecret,
    PortOrOff,
    RedisUrl,
    Seconds,
    Servers,
    Weights,
    redis_hosts,
)

PREFIX: Final = "TRIPLINE_"
FCM_URL: Final = "https://fcm.googleapis.com"
APNS_HOSTS: Final = ("api.push.apple.com", "api.sandbox.push.apple.com")
_SERVICE_LINK: Final = re.compile(r"_SERVICE_(HOST|PORT\w*)$|_PORT(_\d+_\w+)?$")


class SettingsError(Exception):
    """The environment cannot be used. `problems` are lines `TRIPLINE_X: why`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Settings(BaseSettings):
    """All settings. `TRIPLINE_` and the field's name in capitals is the variable's name.

    Constructing one reads nothing but its arguments: the environment comes in through
    `load_settings`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    # --- Kafka
    kafka_servers: Servers = Field(
        default="localhost:9092", description="Bootstrap servers, host:port, comma-separated."
    )
    kafka_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to talk to the brokers."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How to log in; used with the SASL protocols."
    )
    kafka_user: str | None = Field(default=None, repr=False, description="SASL user name.")
    kafka_password: SecretStr | None = Field(default=None, description="SASL password.")
    kafka_ca_file: FilePath | None = Field(
        default=None, description="PEM file of the authorities to trust; the system's when not set."
    )
    kafka_cert_file: FilePath | None = Field(
        default=None, description="PEM client certificate, for mutual TLS."
    )
    kafka_key_file: FilePath | None = Field(
        default=None, description="PEM key of the client certificate."
    )
    topic_prefix: str = Field(
        default="", pattern=r"^[a-zA-Z0-9._-]{0,100}$", description="Starts every topic's name."
    )
    group: str = Field(
        default="tripline",
        pattern=r"^[a-zA-Z0-9._-]{1,100}$",
        description="Starts every consumer group's name.",
    )
    partitions: int = Field(
        default=8,
        ge=1,
        le=10_000,
        description="Shards: partitions of the log. Fixed when the topics are created.",
    )
    topic_replicas: int = Field(
        default=1,
        ge=1,
        le=7,
        description="Replicas of a topic when it is created; 3 in production.",
    )
    session_timeout_s: float = Field(
        default=15.0,
        ge=1,
        le=300,
        description="Silence after which Kafka takes a process for dead.",
    )
    heartbeat_s: float = Field(
        default=3.0,
        ge=0.1,
        le=60,
        description="Pause between heartbeats; at most a third of the timeout.",
    )
    kafka_libs: Path | None = Field(
        default=None,
        description="Directory of the broker's jars, for `tripline up` on one machine.",
    )

    # --- Redis
    redis_url: RedisUrl = Field(
        default="redis://localhost:6379/0",
        repr=False,
        description="redis://, rediss:// (TLS), redis+cluster:// or rediss+cluster://; "
        "user and password may be part of it.",
    )
    redis_replicas: int = Field(
        default=0,
        ge=0,
        le=7,
        description="Replicas of each primary. With 1 or more the gate waits for one.",
    )
    redis_timeout_s: Seconds = Field(
        default=5.0, description="Longest wait for a connection or an answer of Redis."
    )
    redis_ack_ms: int = Field(
        default=50,
        ge=1,
        le=60_000,
        description="Longest wait of the gate for a replica's acknowledgement.",
    )
    key_prefix: str = Field(
        default="", pattern=r"^[a-zA-Z0-9._:-]{0,40}$", description="Starts every key in Redis."
    )

    # --- the log
    log_secret: LongSecret = Field(
        default=None,
        description="Seals the engine's own records; the same for every role, at least 16 "
        "characters. Required by worker and deliver.",
    )
    clock: Literal["wall", "log"] = Field(
        default="wall",
        description="wall: time is the broker's. log: time is the records' (history).",
    )
    event_bytes_max: int = Field(
        default=65_536, ge=1_024, le=1_048_576, description="A larger event is a dead letter."
    )
    workspace: Path = Field(
        default=Path("."), description="Directory of triggers, segments, relations and policy."
    )

    # --- worker
    batch_records_max: int = Field(
        default=2_000, ge=1, le=10_000, description="Records of one shard decided together at most."
    )
    shard_queue_bytes_max: int = Field(
        default=8 * 1024 * 1024,
        ge=65_536,
        le=1024 * 1024 * 1024,
        description="Bytes read ahead and not decided yet, for each shard.",
    )
    states_cached_max: int = Field(
        default=200_000,
        ge=0,
        le=50_000_000,
        description="Decoded user states kept in a worker's memory.",
    )
    outbox_entries_max: int = Field(
        default=1_000,
        ge=1,
        le=100_000,
        description="Unpublished outbox entries of a shard at which it stops deciding.",
    )
    tick_every_s: float = Field(
        default=1.0, ge=0.05, le=60, description="Least pause between two ticks of a shard."
    )

    # --- deliver
    in_flight_max: int = Field(
        default=200, ge=1, le=10_000, description="Provider requests under way in one process."
    )
    request_timeout_s: Seconds = Field(
        default=12.0, description="Longest provider request; then its outcome is UNKNOWN."
    )
    lane_weights: Weights = Field(
        default=(8, 3, 1),
        description="Shares of the lanes high:normal:low; critical always goes first.",
    )
    window_max: int = Field(
        default=2_000,
        ge=1,
        le=100_000,
        description="Deliveries read and not finished, for each partition of a lane.",
    )
    attempts_max: int = Field(
        default=8,
        ge=1,
        le=100,
        description="Provider requests for one delivery before PROVIDER_ERROR.",
    )
    stop_s: float = Field(
        default=15.0, ge=0, le=600, description="Time to finish what is under way after SIGTERM."
    )

    # --- providers
    fcm_service_account_file: FilePath | None = Field(
        default=None, description="JSON key of the Firebase service account. Not set: no Android."
    )
    fcm_base_url: HttpUrl = Field(default=FCM_URL, description="Where FCM answers.")
    fcm_connections_max: int = Field(
        default=200, ge=1, le=5_000, description="Connections to FCM, one request each at a time."
    )
    apns_key_file: FilePath | None = Field(
        default=None, description=".p8 signing key from Apple. Not set: no iOS."
    )
    apns_key_id: str | None = Field(
        default=None, pattern=r"^[A-Z0-9]{10}$", description="Identifier of the signing key."
    )
    apns_team_id: str | None = Field(
        default=None, pattern=r"^[A-Z0-9]{10}$", description="Identifier of the Apple team."
    )
    apns_topic: str | None = Field(default=None, min_length=1, description="Bundle id of the app.")
    apns_host: str = Field(default=APNS_HOSTS[0], min_length=1, description="Where APNs answers.")
    apns_port: int = Field(
        default=443, ge=1, le=65_535, description="Port of APNs; 2197 also works."
    )
    apns_connections_max: int = Field(
        default=8, ge=1, le=100, description="HTTP/2 connections to APNs."
    )
    provider_ca_file: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities to trust for providers, instead of the system's.",
    )
    standins_allowed: bool = Field(
        default=False, description="Allow provider addresses that are not Google's or Apple's."
    )

    # --- what operators see
    failpoint: str = Field(
        default="", max_length=64, description="For crash tests: where to die (engine/failpoints)."
    )
    instance: str = Field(
        default="",
        max_length=200,
        description="Name of this process in logs; host and pid when not set.",
    )
    metrics_host: str = Field(
        default="127.0.0.1", min_length=1, description="Address of /metrics, /livez and /readyz."
    )
    metrics_port: PortOrOff = Field(
        default=0,
        description="Port of /metrics; 0 takes a free one and logs it, `off` serves none.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, else JSON lines."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level of our own lines; libraries speak from warning on."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the arguments: a `Settings(...)` must not change with who starts the process."""
        return (init_settings,)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = [*_kafka_problems(self), *_provider_problems(self)]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def redis_address(self) -> str:
        """The Redis address without user, password and options, for talk."""
        parts = urlsplit(self.redis_url)
        return f"{parts.scheme}://{','.join(redis_hosts(parts))}{parts.path}"

    @property
    def redis_clustered(self) -> bool:
        """True when the address is that of a Redis Cluster."""
        return urlsplit(self.redis_url).scheme.endswith("+cluster")


def _kafka_problems(settings: Settings) -> list[str]:
    problems = []
    if settings.kafka_protocol.startswith("SASL"):
        for name in ("kafka_user", "kafka_password"):
            if getattr(settings, name) is None:
                problems.append(f"{variable(name)}: is required by {settings.kafka_protocol}")
    if (settings.kafka_cert_file is None) != (settings.kafka_key_file is None):
        missing = "kafka_key_file" if settings.kafka_key_file is None else "kafka_cert_file"
        problems.append(f"{variable(missing)}: a certificate and its key go together")
    if settings.heartbeat_s * 3 > settings.session_timeout_s:
        problems.append(
            f"{variable('heartbeat_s')}: must be at most a third of "
            f"{variable('session_timeout_s')} ({settings.session_timeout_s:g})"
        )
    return problems


def _provider_problems(settings: Settings) -> list[str]:
    problems = []
    apns = ("apns_key_file", "apns_key_id", "apns_team_id", "apns_topic")
    given = [name for name in apns if getattr(settings, name) is not None]
    if given:
        problems += [
            f"{variable(name)}: is required together with {variable(given[0])}"
            for name in apns
            if name not in given
        ]
    if not settings.standins_allowed:
        allowed = f"needs {variable('standins_allowed')}=true"
        if settings.fcm_base_url != FCM_URL:
            problems.append(f"{variable('fcm_base_url')}: is not Google's address; {allowed}")
        if settings.apns_host not in APNS_HOSTS:
            problems.append(f"{variable('apns_host')}: is not Apple's address; {allowed}")
    return problems


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def load_settings(
    environment: Mapping[str, str] | None = None, *, require: Iterable[str] = ()
) -> Settings:
    """Read the settings from `environment` (default: the process').

    `require` names fields without a default that the role cannot do without. Raises SettingsError
    that names every wrong, unknown and missing variable at once, and no secret.
    """
    given = {
        name.upper(): value
        for name, value in (os.environ if environment is None else environment).items()
        if name.upper().startswith(PREFIX)
    }
    problems = [
        _unknown(name) for name, value in sorted(given.items()) if not _is_expected(name, value)
    ]
    settings: Settings | None = None
    try:
        source = EnvSettingsSource(Settings)
        source.env_vars = {name.lower(): value for name, value in given.items() if value != ""}
        settings = Settings(**source())
    except ValidationError as error:
        problems += _problems(error)
    if settings is not None:
        problems += [
            f"{variable(name)}: is required by this role and not set"
            for name in require
            if getattr(settings, name) is None
        ]
    if problems or settings is None:
        raise SettingsError(problems)
    return settings


def _is_expected(name: str, value: str) -> bool:
    """A setting, or what Kubernetes adds for a service whose name starts with `tripline-`
    (kubernetes.io/docs/concepts/containers/container-environment)."""
    if name.removeprefix(PREFIX).lower() in Settings.model_fields:
        return True
    link = _SERVICE_LINK.search(name)
    return link is not None and (not name.endswith("_PORT") or "://" in value or bool(link[1]))


def _unknown(name: str) -> str:
    # Without the prefix, which alone makes any two names alike.
    word = name.removeprefix(PREFIX).lower()
    near = difflib.get_close_matches(word, Settings.model_fields, n=1, cutoff=0.6)
    return f"{name}: is no setting" + (f"; did you mean {variable(near[0])}?" if near else "")


def _problems(error: ValidationError) -> list[str]:
    """One line for each wrong setting. pydantic's own text would repeat the given values."""
    lines: dict[str, None] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        message = re.sub(r"^(Value error|Input), ?", "", item["msg"])
        if item["loc"]:
            message = message[0].lower() + message[1:]
            lines[f"{variable(str(item['loc'][0]))}: {message}"] = None
        else:
            lines |= dict.fromkeys(message.split("\n"))
    return list(lines)


class SettingRow(NamedTuple):
    """One setting for a listing. `value` is the given value, "" when there is none."""

    variable: str
    default: str
    value: str
    description: str


def describe_settings(environment: Mapping[str, str] | None = None) -> list[SettingRow]:
    """All settings in the order of declaration. Secrets and addresses with passwords are hidden."""
    given = os.environ if environment is None else environment
    rows = []
    for name, field in Settings.model_fields.items():
        value = given.get(variable(name), "")
        # What is kept out of a repr holds personal data or a password.
        secret = not field.repr or "SecretStr" in repr(field.annotation)
        if value and secret:
            value = "[hidden]"
        default = _shown(field.default)
        rows.append(SettingRow(variable(name), default, value, field.description or ""))
    return rows


def _shown(default: Any) -> str:
    if default is None or default is PydanticUndefined:
        return ""
    if isinstance(default, tuple):
        return ":".join(str(part) for part in default)
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    return str(default)
