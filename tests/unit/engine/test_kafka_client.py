import asyncio
import socket
import ssl
import struct
from pathlib import Path
from typing import cast

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from engine import clock
from engine.kafka_client import client_options, expect_uvloop
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


class _Broker(asyncio.Protocol):
    """Answers every request as one for the supported versions: of that request, version 0."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        correlation = data[8:12]
        answer = struct.pack(">hihhh", 0, 1, 18, 0, 0)
        self.transport.write(struct.pack(">i", 16) + correlation + answer)

    def reset(self) -> None:
        """End the connection as a killed process does."""
        peer = self.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


async def _until_lost() -> list[Exception]:
    """What requests end with that are sent in every turn of the loop in which a connection is lost,
    until it is known to be."""
    broker = _Broker()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: broker, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    errors: list[Exception] = []
    async with server:
        connection = AIOKafkaConnection("127.0.0.1", port)
        await connection.connect()
        broker.reset()
        answers: list[asyncio.Future[object]] = []
        deadline_s = clock.monotonic_s() + 10
        while connection.connected() and clock.monotonic_s() < deadline_s:
            try:
                answers.append(asyncio.ensure_future(connection.send(ApiVersionRequest())))
            except Exception as error:
                errors.append(error)
            await asyncio.sleep(0)
        assert not connection.connected()
        found = await asyncio.gather(*answers, return_exceptions=True)
        errors += [one for one in found if isinstance(one, Exception)]
    return errors


def test_requests_of_a_connection_that_is_just_lost_fail_as_such_on_uvloop() -> None:
    expect_uvloop()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        errors = runner.run(_until_lost())
    assert {type(error) for error in errors} == {KafkaConnectionError}


def test_another_mistake_of_a_request_is_not_taken_for_a_lost_connection() -> None:
    expect_uvloop()

    class Broken:
        def prepare(self, versions: object) -> None:
            raise RuntimeError("no version")

    async def asked() -> None:
        broker = _Broker()
        server = await asyncio.get_running_loop().create_server(lambda: broker, "127.0.0.1", 0)
        async with server:
            connection = AIOKafkaConnection("127.0.0.1", server.sockets[0].getsockname()[1])
            await connection.connect()
            try:
                with pytest.raises(RuntimeError, match="no version"):
                    connection.send(Broken())
                assert connection.connected()
            finally:
                connection.close()

    asyncio.run(asked())
