import pytest
import structlog

from engine.http import Health
from engine.waits import until_reachable


class Away(Exception):
    pass


class Service:
    """Answers at the given try."""

    def __init__(self, health: Health, answers_at: int) -> None:
        self._health = health
        self._answers_at = answers_at
        self.seen_ready: list[bool] = []

    async def connect(self) -> str:
        self.seen_ready.append(self._health.ready)
        if len(self.seen_ready) < self._answers_at:
            raise Away("refused")
        return "connected"


async def test_it_tries_until_the_service_answers_and_is_not_ready_before() -> None:
    health = Health()
    health.set("kafka", True)
    service = Service(health, 4)
    with structlog.testing.capture_logs() as lines:
        made = await until_reachable(
            "kafka", "h:9092", service.connect, health, (Away,), pause_first_s=0.001
        )
    assert made == "connected"
    assert service.seen_ready == [True, False, False, False]
    assert health.ready
    said = [line for line in lines if line["event"] == "waiting_for_service"]
    assert len(said) == 1, "one line for one outage, not one for each try"
    assert (said[0]["service"], said[0]["where"], said[0]["error"]) == (
        "kafka",
        "h:9092",
        "refused",
    )


async def test_the_pauses_double_up_to_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("engine.waits.asyncio.sleep", note)
    health = Health()
    await until_reachable(
        "redis", "h", Service(health, 6).connect, health, (Away,), pause_first_s=1, pause_max_s=5
    )
    assert pauses == [1, 2, 4, 5, 5]


async def test_an_error_that_waiting_does_not_heal_is_raised() -> None:
    async def connect() -> None:
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        await until_reachable("redis", "h", connect, Health(), (Away,))
