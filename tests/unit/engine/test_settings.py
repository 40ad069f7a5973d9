from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.settings import (
    Settings,
    SettingsError,
    describe_settings,
    load_settings,
    variable,
)


def refusal(environment: Mapping[str, str], *require: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load_settings(environment, require=require)
    return list(refused.value.problems)


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load_settings({})
    assert settings.kafka_servers == "localhost:9092"
    assert settings.redis_url == "redis://localhost:6379/0"
    assert settings.lane_weights == (8, 3, 1)
    assert settings.log_secret is None


def test_a_given_variable_wins_over_the_default_and_others_are_left_alone() -> None:
    settings = load_settings(
        {
            "TRIPLINE_PARTITIONS": "3",
            "TRIPLINE_LANE_WEIGHTS": "5:2:1",
            "TRIPLINE_KAFKA_SERVERS": "a:1, b:2",
            "TRIPLINE_METRICS_PORT": "off",
            "TRIPLINE_GROUP": "",
            "PATH": "/bin",
        }
    )
    assert (settings.partitions, settings.lane_weights) == (3, (5, 2, 1))
    assert settings.kafka_servers == "a:1,b:2"
    assert settings.metrics_port is None
    assert settings.group == "tripline"


def test_settings_made_in_a_program_do_not_read_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRIPLINE_PARTITIONS", "77")
    assert Settings().partitions == 8
    assert load_settings().partitions == 77


def test_settings_do_not_change() -> None:
    name = "partitions"
    with pytest.raises(ValidationError):
        setattr(Settings(), name, 9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIPLINE_PARTITIONS", "0"),
        ("TRIPLINE_PARTITIONS", "eight"),
        ("TRIPLINE_KAFKA_SERVERS", "localhost"),
        ("TRIPLINE_KAFKA_SERVERS", "localhost:99999"),
        ("TRIPLINE_KAFKA_SERVERS", ","),
        ("TRIPLINE_KAFKA_PROTOCOL", "TLS"),
        ("TRIPLINE_REDIS_URL", "localhost:6379"),
        ("TRIPLINE_REDIS_URL", "redis://host:port"),
        ("TRIPLINE_REDIS_URL", "redis://a:1,b:2"),
        ("TRIPLINE_REDIS_URL", "redis://"),
        ("TRIPLINE_LANE_WEIGHTS", "8:3"),
        ("TRIPLINE_LANE_WEIGHTS", "8:3:0"),
        ("TRIPLINE_METRICS_PORT", "70000"),
        ("TRIPLINE_CLOCK", "client"),
        ("TRIPLINE_LOG_SECRET", "fifteen letters"),
        ("TRIPLINE_APNS_KEY_FILE", "/nowhere/key.p8"),
        ("TRIPLINE_HEARTBEAT_S", "6"),
        ("TRIPLINE_FCM_BASE_URL", "http://127.0.0.1:8080"),
        ("TRIPLINE_APNS_HOST", "localhost"),
        ("TRIPLINE_TOPIC_PREFIX", "a b"),
    ],
)
def test_a_wrong_value_is_refused_with_the_name_of_its_setting(name: str, value: str) -> None:
    problems = refusal({name: value})
    assert problems
    assert all(problem.startswith(f"{name}: ") for problem in problems)


def test_all_wrong_settings_are_named_at_once() -> None:
    problems = refusal(
        {"TRIPLINE_PARTITIONS": "x", "TRIPLINE_STOP_S": "-1", "TRIPLINE_PARTITION": "8"}
    )
    assert {problem.split(":")[0] for problem in problems} == {
        "TRIPLINE_PARTITIONS",
        "TRIPLINE_STOP_S",
        "TRIPLINE_PARTITION",
    }


def test_an_unknown_variable_is_refused_with_the_nearest_name() -> None:
    assert refusal({"TRIPLINE_KAFKA_SERVER": "a:1"}) == [
        "TRIPLINE_KAFKA_SERVER: is no setting; did you mean TRIPLINE_KAFKA_SERVERS?"
    ]
    assert refusal({"TRIPLINE_XYZZY": "1"}) == ["TRIPLINE_XYZZY: is no setting"]


def test_what_kubernetes_adds_for_a_service_is_not_a_setting_and_not_an_error() -> None:
    load_settings(
        {
            "TRIPLINE_API_SERVICE_HOST": "10.0.0.1",
            "TRIPLINE_API_SERVICE_PORT_HTTP": "80",
            "TRIPLINE_API_PORT": "tcp://10.0.0.1:80",
            "TRIPLINE_API_PORT_80_TCP_ADDR": "10.0.0.1",
        }
    )
    assert refusal({"TRIPLINE_METRIC_PORT": "9464"}) == [
        "TRIPLINE_METRIC_PORT: is no setting; did you mean TRIPLINE_METRICS_PORT?"
    ]


def test_a_role_that_needs_the_secret_names_it_when_it_is_missing() -> None:
    assert refusal({}, "log_secret") == [
        "TRIPLINE_LOG_SECRET: is required by this role and not set"
    ]
    secret = {"TRIPLINE_LOG_SECRET": "x" * 16}
    assert load_settings(secret, require=["log_secret"]).log_secret is not None


def test_sasl_needs_a_user_and_a_password() -> None:
    problems = refusal({"TRIPLINE_KAFKA_PROTOCOL": "SASL_SSL", "TRIPLINE_KAFKA_USER": "u"})
    assert problems == ["TRIPLINE_KAFKA_PASSWORD: is required by SASL_SSL"]


def test_the_apns_settings_go_together(tmp_path: Path) -> None:
    key = tmp_path / "key.p8"
    key.write_text("x")
    problems = refusal({"TRIPLINE_APNS_KEY_FILE": str(key), "TRIPLINE_APNS_TOPIC": "com.x"})
    assert {problem.split(":")[0] for problem in problems} == {
        "TRIPLINE_APNS_KEY_ID",
        "TRIPLINE_APNS_TEAM_ID",
    }


def test_another_provider_address_needs_to_be_allowed_expressly() -> None:
    settings = load_settings(
        {
            "TRIPLINE_STANDINS_ALLOWED": "true",
            "TRIPLINE_FCM_BASE_URL": "http://127.0.0.1:8080/",
            "TRIPLINE_APNS_HOST": "localhost",
        }
    )
    assert settings.fcm_base_url == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    "environment",
    [
        {"TRIPLINE_LOG_SECRET": "hunter2-hunter2"},
        {"TRIPLINE_REDIS_URL": "http://me:hunter2@host"},
        {"TRIPLINE_REDIS_URL": "redis://me:hunter2/x@host"},
        {"TRIPLINE_KAFKA_PASSWORD": "hunter2", "TRIPLINE_KAFKA_PROTOCOL": "hm"},
    ],
)
def test_no_refusal_repeats_a_secret(environment: dict[str, str]) -> None:
    assert "hunter2" not in "\n".join(refusal(environment))


def test_neither_the_repr_nor_the_listing_shows_a_secret() -> None:
    environment = {
        "TRIPLINE_LOG_SECRET": "hunter2-hunter2-hunter2",
        "TRIPLINE_REDIS_URL": "redis://me:hunter2@cache:6380/1",
        "TRIPLINE_KAFKA_PASSWORD": "hunter2",
        "TRIPLINE_KAFKA_USER": "hunter2",
    }
    settings = load_settings(environment)
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(describe_settings(environment))
    assert settings.redis_address == "redis://cache:6380/1"


def test_a_cluster_address_is_told_from_a_plain_one() -> None:
    settings = Settings(redis_url="rediss+cluster://me:pw@a:7000,b:7001")
    assert settings.redis_clustered
    assert settings.redis_address == "rediss+cluster://a:7000,b:7001"
    assert not Settings().redis_clustered


def test_every_setting_is_listed_with_a_description_and_its_default() -> None:
    rows = describe_settings({"TRIPLINE_PARTITIONS": "4"})
    assert [row.variable for row in rows] == [variable(name) for name in Settings.model_fields]
    assert all(row.description.endswith(".") for row in rows)
    partitions = next(row for row in rows if row.variable == "TRIPLINE_PARTITIONS")
    assert (partitions.default, partitions.value) == ("8", "4")
    # A listed default is one that can be given.
    defaults = {row.variable: row.default for row in rows if row.default}
    assert load_settings(defaults) == Settings()
