from engine.stream.states import StateCache
from triggers.state import UserState


def test_a_state_in_use_survives_settling() -> None:
    cache = StateCache(4)
    used = UserState()
    cache.put("used", used)
    for number in range(20):
        cache.put(f"u{number}", UserState())
        assert cache.use(["used", "unknown"]) == ["unknown"]
        assert cache.in_use["used"] is used
        cache.settle()
    assert cache.use(["used"]) == []
    assert cache.in_use["used"] is used


def test_what_is_not_used_for_long_goes() -> None:
    cache = StateCache(4)
    for number in range(20):
        cache.put(f"u{number}", UserState())
        cache.settle()
    assert "u0" not in cache
    assert len(cache) <= 6


def test_nothing_is_dropped_between_commits() -> None:
    cache = StateCache(2)
    for number in range(50):
        cache.put(f"u{number}", UserState())
    assert len(cache) == 50
