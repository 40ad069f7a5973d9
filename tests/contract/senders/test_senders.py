"""What every sender must do, against its stand-in."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest

from engine import clock
from engine.delivery.senders import SendKind
from engine.standins.rules import Action, Delay, Rule
from tests.contract.senders.harness import Rig, apns_rig, fcm_rig, push
from tests.waiting import eventually

PROVIDERS = ("fcm", "apns")
DEAD = {
    "fcm": Rule(token_prefix="dead", status=404, reason="UNREGISTERED"),
    "apns": Rule(token_prefix="dead", status=410, reason="Unregistered", timestamp_ms=1_700_000),
}
BUSY = {
    "fcm": Rule(status=429, reason="QUOTA_EXCEEDED", retry_after="17"),
    "apns": Rule(status=429, reason="TooManyRequests", retry_after="17"),
}


class MakeRig(Protocol):
    def __call__(
        self, rules: list[Rule] | None = None, **options: Any
    ) -> AbstractAsyncContextManager[Rig]: ...


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_rig(provider: str, tmp_path: Path) -> MakeRig:
    @contextlib.asynccontextmanager
    async def make(rules: list[Rule] | None = None, **options: Any) -> AsyncIterator[Rig]:
        if provider == "fcm":
            async with fcm_rig(tmp_path, rules, **options) as fcm:
                yield fcm
        else:
            async with apns_rig(tmp_path, rules, **options) as apns:
                yield apns

    return make


async def test_an_accepted_push_arrives_with_all_its_parts(make_rig: MakeRig) -> None:
    async with make_rig() as rig:
        sent = push(7, token="ok")
        result = await rig.send(sent)
        assert (result.kind, result.status) == (SendKind.ACCEPTED, 200)
        (entry,) = rig.received()
        for field in ("delivery_id", "token", "title", "body", "link", "collapse_key", "urgent"):
            assert entry[field] == getattr(sent, field)
        # FCM carries whole seconds to live, counted from arrival.
        assert abs(entry["expires_at_ms"] - sent.expires_at_ms) <= 2_000
        assert entry["accepted"] is True


async def test_a_push_that_is_not_urgent_says_so(make_rig: MakeRig) -> None:
    async with make_rig() as rig:
        await rig.send(push(urgent=False))
        assert rig.received()[0]["urgent"] is False


async def test_a_dead_token_is_unregistered_and_others_are_not(
    make_rig: MakeRig, provider: str
) -> None:
    async with make_rig([DEAD[provider]]) as rig:
        result = await rig.send(push(1, token="dead"))
        assert result.kind is SendKind.UNREGISTERED
        assert result.reason == DEAD[provider].reason
        assert result.token_invalid_since_ms == DEAD[provider].timestamp_ms
        assert (await rig.send(push(2, token="live"))).kind is SendKind.ACCEPTED


async def test_429_is_retried_later_after_the_time_the_provider_asks_for(
    make_rig: MakeRig, provider: str
) -> None:
    async with make_rig([BUSY[provider]]) as rig:
        result = await rig.send(push())
        assert (result.kind, result.retry_after_s) == (SendKind.RETRY_LATER, 17.0)


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("empty_body", [False, True])
async def test_5xx_is_definitely_not_delivered(
    make_rig: MakeRig, status: int, empty_body: bool
) -> None:
    async with make_rig([Rule(status=status, empty_body=empty_body)]) as rig:
        result = await rig.send(push())
        assert (result.kind, result.status) == (SendKind.RETRY_LATER, status)


async def test_a_reason_split_over_two_frames_is_still_read(
    make_rig: MakeRig, provider: str
) -> None:
    rule = DEAD[provider]
    split = Rule(
        status=rule.status, reason=rule.reason, timestamp_ms=rule.timestamp_ms, split_body=True
    )
    async with make_rig([split]) as rig:
        result = await rig.send(push())
        assert (result.kind, result.reason) == (SendKind.UNREGISTERED, rule.reason)


async def test_no_answer_is_unknown_at_the_deadline_and_not_later(make_rig: MakeRig) -> None:
    async with make_rig([Rule(token_prefix="mute", action=Action.HANG)]) as rig:
        await rig.send(push(1))
        began_s = clock.monotonic_s()
        result = await rig.send(push(2, token="mute"), timeout_s=0.3)
        assert (result.kind, result.reason) == (SendKind.UNKNOWN, "TIMEOUT")
        assert 0.29 <= clock.monotonic_s() - began_s < 1.5
        assert (await rig.send(push(3))).kind is SendKind.ACCEPTED


async def test_a_reset_after_the_request_was_written_is_unknown(make_rig: MakeRig) -> None:
    async with make_rig([Rule(token_prefix="cut", action=Action.ACCEPT_THEN_RESET)]) as rig:
        result = await rig.send(push(1, token="cut"))
        assert (result.kind, result.reason) == (SendKind.UNKNOWN, "RESET")
        # The provider had taken it: RETRY_LATER would have been a duplicate.
        assert rig.received("cut")[0]["accepted"] is True
        assert (await rig.send(push(2))).kind is SendKind.ACCEPTED


async def test_a_connection_dropped_under_a_request_is_unknown(make_rig: MakeRig) -> None:
    async with make_rig([Rule(token_prefix="drop", action=Action.DROP_CONNECTION)]) as rig:
        await rig.send(push(1))
        result = await rig.send(push(2, token="drop"))
        assert (result.kind, result.reason) == (SendKind.UNKNOWN, "RESET")
        assert (await rig.send(push(3))).kind is SendKind.ACCEPTED


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, SendKind.ACCEPTED), (503, SendKind.RETRY_LATER), (400, SendKind.RETRY_LATER)],
)
async def test_an_answer_cut_off_after_its_status_counts_by_the_status(
    make_rig: MakeRig, status: int, kind: SendKind
) -> None:
    rule = Rule(token_prefix="half", action=Action.CLOSE_MID_RESPONSE, status=status)
    async with make_rig([rule]) as rig:
        await rig.send(push(1))
        result = await rig.send(push(2, token="half"))
        assert (result.kind, result.status) == (kind, status)
        assert (await rig.send(push(3))).kind is SendKind.ACCEPTED


async def test_a_refused_connection_is_definitely_not_delivered(
    make_rig: MakeRig, provider: str
) -> None:
    # Bound and not listening: a port that was only looked for may be the stand-in's by then.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        options: dict[str, Any] = (
            {"base_url": f"http://127.0.0.1:{port}"} if provider == "fcm" else {"port": port}
        )
        async with make_rig(**options) as rig:
            for result in await rig.send_many(range(20)):
                assert (result.kind, result.reason) == (SendKind.RETRY_LATER, "CONNECT")


async def test_cancelled_sends_harm_no_other_send_of_fifty(make_rig: MakeRig) -> None:
    async with make_rig(standin={"delay": Delay(low=150)}) as rig:
        await rig.send(push(0))
        tasks = [asyncio.ensure_future(rig.send(push(number))) for number in range(1, 51)]
        await eventually(lambda: len(rig.received()) == 51)
        for task in tasks[:5]:
            task.cancel()
        async with asyncio.timeout(10):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results[:5])
        kinds = [r.kind for r in results[5:] if not isinstance(r, BaseException)]
        assert kinds == [SendKind.ACCEPTED] * 45
        assert (await rig.send(push(99))).kind is SendKind.ACCEPTED


async def test_300_times_503_leaves_a_sender_that_works(make_rig: MakeRig) -> None:
    # firebase-admin's async client hangs for good after 100 of these.
    options = {"standin": {"delay": Delay(low=2)}}
    async with make_rig([Rule(status=503, first=300)], **options) as rig:
        for batch in range(6):
            for result in await rig.send_many(range(batch * 50, batch * 50 + 50)):
                assert result.kind is SendKind.RETRY_LATER
        for result in await rig.send_many(range(1000, 1100)):
            assert result.kind is SendKind.ACCEPTED


async def test_a_full_pool_gives_up_at_the_deadline_having_sent_nothing(
    make_rig: MakeRig, provider: str
) -> None:
    options: dict[str, Any] = {"connections_max": 1}
    if provider == "apns":
        options["streams_max"] = 1
    rules = [Rule(token_prefix="mute", action=Action.HANG)]
    async with make_rig(rules, waiting_max=1, **options) as rig:
        await rig.send(push(0))
        blocker = asyncio.ensure_future(rig.send(push(1, token="mute"), timeout_s=30.0))
        await eventually(lambda: rig.received("mute"))
        # In this order: the first takes the only place to wait, the second finds none.
        waited, surplus = await asyncio.gather(
            rig.send(push(2, token="late"), timeout_s=0.3),
            rig.send(push(3, token="late"), timeout_s=30.0),
        )
        for result in (waited, surplus):
            assert (result.kind, result.reason) == (SendKind.RETRY_LATER, "POOL_FULL")
        assert rig.received("late") == []
        blocker.cancel()
        assert (await rig.send(push(4))).kind is SendKind.ACCEPTED


async def test_text_that_is_no_unicode_is_rejected_without_a_request(make_rig: MakeRig) -> None:
    async with make_rig() as rig:
        result = await rig.send(push(title="\ud800"))
        assert (result.kind, result.reason) == (SendKind.REJECTED, "UNENCODABLE")
        assert rig.received() == []


async def test_no_misbehaviour_makes_a_sender_send_twice_or_hang(make_rig: MakeRig) -> None:
    rules = [
        Rule(every=7, action=Action.RESET),
        Rule(every=11, action=Action.HANG),
        Rule(every=13, status=503, empty_body=True),
        Rule(every=17, action=Action.CLOSE_MID_RESPONSE, status=500),
        Rule(every=19, status=400, reason="X", split_body=True),
        Rule(every=60, action=Action.DROP_CONNECTION),
        Rule(every=70, action=Action.GOAWAY),
    ]
    async with make_rig(rules, standin={"delay": Delay(low=1, high=20)}) as rig:
        results = await rig.send_many(range(400), timeout_s=2.0)
        ids = [entry["delivery_id"] for entry in rig.received()]
        assert len(ids) == len(set(ids))
        accepted = {e["delivery_id"] for e in rig.received() if e["accepted"]}
        for number, result in enumerate(results):
            if f"{number:032x}" in accepted:
                # Taken by the provider: sending again must not be suggested.
                assert result.kind in (SendKind.ACCEPTED, SendKind.UNKNOWN)
            else:
                assert result.kind is not SendKind.ACCEPTED


async def test_what_is_open_at_close_ends_at_once(make_rig: MakeRig) -> None:
    async with make_rig([Rule(token_prefix="mute", action=Action.HANG)]) as rig:
        await rig.send(push(0))
        pending = asyncio.ensure_future(rig.send(push(1, token="mute"), timeout_s=60.0))
        await eventually(lambda: rig.received("mute"))
        await rig.sender.aclose()
        async with asyncio.timeout(5):
            assert (await pending).kind is SendKind.UNKNOWN
        assert (await rig.send(push(2))).kind is SendKind.RETRY_LATER
