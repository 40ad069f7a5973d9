import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from engine.cli.common import ExitCode
from engine.cli.doctor import exit_code
from engine.doctor import Check, State, check_credentials, check_redis_info, check_secrets
from engine.settings import Settings

GOOD = {
    "redis_version": "7.0.15",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
    "connected_slaves": "1",
}


def states(checks: list[Check]) -> dict[str, State]:
    return {check.name: check.state for check in checks}


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def service_account(path: Path, private_key: str) -> Path:
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "shop",
                "private_key": private_key,
                "client_email": "push@shop.example",
                "token_uri": "https://oauth2.googleapis.com/token",
            }
        )
    )
    return path


def apns(path: Path, key: str) -> Settings:
    path.write_text(key)
    return Settings(
        apns_key_file=path, apns_key_id="A" * 10, apns_team_id="B" * 10, apns_topic="com.shop"
    )


def test_a_redis_as_it_should_be_is_ok() -> None:
    (check,) = check_redis_info("redis", GOOD, 1)
    assert (check.state, check.detail) == (State.OK, "version 7.0.15")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"redis_version": "6.2.14"}, "7.0 or later"),
        ({"role": "slave"}, "primary"),
        ({"maxmemory_policy": "allkeys-lru"}, "set noeviction"),
        ({"aof_enabled": "0"}, "appendonly yes"),
        ({"connected_slaves": "0"}, "0 replicas of 1"),
    ],
)
def test_a_redis_that_would_lose_states_is_a_fault_with_its_remedy(
    wrong: dict[str, str], words: str
) -> None:
    failing = [c for c in check_redis_info("redis", GOOD | wrong, 1) if c.state is State.FAIL]
    assert len(failing) == 1
    assert words in failing[0].detail


def test_credentials_that_work_are_told_by_project_and_key(tmp_path: Path) -> None:
    rsa_key = pem(rsa.generate_private_key(65_537, 2048))
    fcm = Settings(fcm_service_account_file=service_account(tmp_path / "a.json", rsa_key))
    assert check_credentials(fcm) == [Check("fcm", State.OK, "project shop")]
    ec_key = pem(ec.generate_private_key(ec.SECP256R1()))
    (check,) = check_credentials(apns(tmp_path / "k.p8", ec_key))
    assert (check.name, check.state) == ("apns", State.OK)


def test_credentials_that_cannot_work_are_a_fault_and_are_not_quoted(tmp_path: Path) -> None:
    broken = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"
    fcm = Settings(fcm_service_account_file=service_account(tmp_path / "a.json", broken))
    for given in (fcm, apns(tmp_path / "k.p8", broken)):
        (check,) = check_credentials(given)
        assert check.state is State.FAIL
        assert "TRIPLINE_" in check.detail
        assert "hunter2" not in check.detail


def test_no_provider_is_a_warning_and_no_secret_a_fault() -> None:
    assert states(check_credentials(Settings())) == {"providers": State.WARN}
    assert states(list(check_secrets(Settings()))) == {"secret": State.FAIL}
    given = Settings.model_validate({"log_secret": "x" * 16})
    assert states(list(check_secrets(given))) == {"secret": State.OK}


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([State.OK, State.WARN], ExitCode.OK),
        ([State.OK, State.FAIL], ExitCode.ERROR),
        ([State.FAIL, State.REFUSED], ExitCode.AUTH),
        ([State.FAIL, State.REFUSED, State.UNREACHABLE], ExitCode.UNREACHABLE),
    ],
)
def test_the_exit_code_is_the_gravest_thing_found(found: list[State], code: ExitCode) -> None:
    assert exit_code([Check("x", state, "") for state in found]) is code
