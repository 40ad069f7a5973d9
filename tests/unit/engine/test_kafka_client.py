import ssl
from pathlib import Path

import pytest

from engine.kafka_client import client_options
from engine.settings import Settings


def test_a_plain_connection_needs_addresses_only() -> None:
    options = client_options(Settings(kafka_servers="a:1,b:2"))
    assert options == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }


def test_a_login_is_handed_on_and_only_with_a_sasl_protocol() -> None:
    login = {"kafka_user": "u", "kafka_password": "p"}
    sasl = Settings.model_validate(login | {"kafka_protocol": "SASL_PLAINTEXT"})
    options = client_options(sasl)
    assert options["ssl_context"] is None
    assert {name: value for name, value in options.items() if name.startswith("sasl")} == {
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }
    plain = client_options(Settings.model_validate(login))
    assert not [name for name in plain if name.startswith("sasl")]


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_tls_always_verifies_the_broker(protocol: str) -> None:
    settings = Settings.model_validate(
        {"kafka_protocol": protocol, "kafka_user": "u", "kafka_password": "p"}
    )
    context = client_options(settings)["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_file_that_is_no_certificate_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    settings = Settings.model_validate({"kafka_protocol": "SSL", "kafka_ca_file": path})
    with pytest.raises(ssl.SSLError):
        client_options(settings)
