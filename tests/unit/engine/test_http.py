import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from engine.http import Health, HttpServer, Progress, start_http

LOCAL = "127.0.0.1"


@pytest.fixture
async def health() -> Health:
    return Health(["kafka", "redis"])


@pytest.fixture
async def server(health: Health) -> AsyncIterator[HttpServer]:
    server = await start_http(LOCAL, 0, health)
    yield server
    await server.stop()


async def ask(port: int, path: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{LOCAL}:{port}{path}") as answer,
    ):
        json = answer.content_type == "application/json"
        return answer.status, await (answer.json() if json else answer.text())


async def test_a_role_is_not_ready_until_every_expected_condition_was_stated(
    health: Health, server: HttpServer
) -> None:
    status, body = await ask(server.port, "/readyz")
    assert (status, body["failing"]) == (503, ["kafka", "redis"])
    health.set("kafka", True)
    status, body = await ask(server.port, "/readyz")
    assert (status, body["failing"]) == (503, ["redis"])
    health.set("redis", True, "redis://h")
    status, body = await ask(server.port, "/readyz")
    assert status == 200
    assert body == {
        "version": 1,
        "ready": True,
        "failing": [],
        "conditions": {
            "kafka": {"ok": True, "detail": ""},
            "redis": {"ok": True, "detail": "redis://h"},
        },
    }


async def test_a_condition_that_falls_makes_the_role_unready_and_leaves_it_alive(
    health: Health, server: HttpServer
) -> None:
    health.set("kafka", True)
    health.set("redis", True)
    health.set("redis", False, "no answer")
    status, body = await ask(server.port, "/readyz")
    assert (status, body["conditions"]["redis"]["detail"]) == (503, "no answer")
    status, body = await ask(server.port, "/livez")
    assert (status, body) == (200, {"version": 1, "live": True, "detail": ""})


async def test_a_role_without_conditions_is_never_ready() -> None:
    assert not Health().ready


async def test_what_stands_still_for_too_long_fails_the_proof_of_life() -> None:
    now_s = 100.0
    progress = Progress("the shard loop", 30, lambda: now_s)
    server = await start_http(LOCAL, 0, Health(stuck=progress.stuck))
    try:
        now_s = 130.0
        assert (await ask(server.port, "/livez"))[0] == 200
        now_s = 131.0
        status, body = await ask(server.port, "/livez")
        assert (status, body["detail"]) == (503, "the shard loop stands still for 31 s")
        progress.made()
        assert (await ask(server.port, "/livez"))[0] == 200
    finally:
        await server.stop()


async def test_metrics_are_served_as_text_and_as_openmetrics(server: HttpServer) -> None:
    status, body = await ask(server.port, "/metrics")
    assert status == 200
    assert "tripline_build_info{" in body
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"http://{LOCAL}:{server.port}/metrics",
            headers={"Accept": "application/openmetrics-text; version=1.0.0"},
        ) as answer,
    ):
        assert answer.content_type == "application/openmetrics-text"
        assert (await answer.text()).endswith("# EOF\n")


async def test_other_paths_are_not_found(server: HttpServer) -> None:
    assert (await ask(server.port, "/"))[0] == 404


async def test_a_taken_port_is_an_error_and_leaves_nothing_open(server: HttpServer) -> None:
    with pytest.raises(OSError, match=str(server.port)):
        await start_http(LOCAL, server.port, Health())


async def test_a_stopped_server_has_given_back_its_port(health: Health) -> None:
    server = await start_http(LOCAL, 0, health)
    await server.stop()
    await server.stop()

    def free() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOCAL, server.port)) != 0

    assert await asyncio.to_thread(free)
