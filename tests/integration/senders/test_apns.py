"""What HTTP/2 and provider tokens add to the contract: the faults aioapns 4.0 falls over."""

import asyncio
import ssl
from pathlib import Path

import pytest
import uvloop
from h2.errors import ErrorCodes

from engine.delivery.senders import SendKind
from engine.standins.rules import Action, Delay, Rule
from tests.contract.senders.harness import apns_rig, push
from tests.waiting import eventually

STRICT_DELAY = Delay(low=20, high=40)


async def test_a_cold_burst_opens_one_stream_until_the_token_is_accepted(tmp_path: Path) -> None:
    async with apns_rig(tmp_path, standin={"delay": STRICT_DELAY}) as rig:
        results = await rig.send_many(range(50))
        assert {result.kind for result in results} == {SendKind.ACCEPTED}
        assert rig.standin.connections_seen == 1
        # Without the warm-up the stand-in would have refused streams above its first grant of one.
        assert rig.standin.streams_peak == 49


async def test_refused_tokens_keep_the_connection_at_one_stream(tmp_path: Path) -> None:
    rules = [Rule(status=403, reason="InvalidProviderToken", delay=STRICT_DELAY)]
    options = {"streams_initial": 100}
    async with apns_rig(tmp_path, rules, standin=options) as rig:
        assert {result.kind for result in await rig.send_many(range(5))} == {SendKind.AUTH}
        assert rig.standin.streams_peak == 1


async def test_nothing_of_a_finished_send_is_kept(tmp_path: Path) -> None:
    rules = [
        Rule(every=5, status=410, reason="Unregistered"),
        Rule(every=7, action=Action.RESET),
        Rule(every=11, action=Action.HANG),
    ]
    async with apns_rig(tmp_path, rules) as rig:
        await rig.send_many(range(300), timeout_s=0.5)
        assert rig.sender._connections
        for connection in rig.sender._connections:
            assert connection.in_flight == 0
            assert connection._h2.streams == {}
        assert not rig.sender._queue


async def test_never_more_streams_than_the_server_grants_at_the_moment(tmp_path: Path) -> None:
    options = {"delay": STRICT_DELAY, "streams_max": 3}
    async with apns_rig(tmp_path, standin=options, connections_max=1) as rig:
        results = await rig.send_many(range(30))
        assert {result.kind for result in results} == {SendKind.ACCEPTED}
        assert rig.standin.streams_peak == 3
        (connection,) = rig.standin.connections
        connection.grant(1000)
        assert {r.kind for r in await rig.send_many(range(100, 200))} == {SendKind.ACCEPTED}
        assert rig.standin.streams_peak > 50


async def test_a_grant_lowered_after_a_rejection_is_respected(tmp_path: Path) -> None:
    rules = [Rule(token_prefix="bad", status=400, reason="BadDeviceToken")]
    options = {"delay": STRICT_DELAY, "streams_after_rejection": 1}
    async with apns_rig(tmp_path, rules, standin=options, connections_max=1) as rig:
        assert (await rig.send(push(0, token="bad"))).reason == "BadDeviceToken"
        rig.standin.streams_peak = 0
        results = await rig.send_many(range(10))
        assert {result.kind for result in results} == {SendKind.ACCEPTED}
        assert rig.standin.streams_peak == 1


async def test_a_refused_stream_was_not_delivered_and_its_neighbours_were(tmp_path: Path) -> None:
    refuse = Rule(every=10, action=Action.RESET, h2_error=ErrorCodes.REFUSED_STREAM)
    async with apns_rig(tmp_path, [refuse], standin={"delay": STRICT_DELAY}) as rig:
        results = await rig.send_many(range(100))
        refused = [r for r in results if r.reason == "REFUSED_STREAM"]
        assert len(refused) == 10
        assert {r.kind for r in refused} == {SendKind.RETRY_LATER}
        assert sum(r.kind is SendKind.ACCEPTED for r in results) == 90
        assert rig.standin.connections_seen == 1


async def test_goaway_separates_answered_from_never_processed(tmp_path: Path) -> None:
    # The 30th request is answered with GOAWAY naming the stream before it as the last.
    rules = [Rule(token_prefix="go", action=Action.GOAWAY, reason="Shutdown", delay=Delay(low=5))]
    async with apns_rig(tmp_path, rules, standin={"delay": Delay(low=300)}) as rig:
        await rig.send(push(0))
        sends = [rig.send(push(n, token="go" if n == 30 else "")) for n in range(1, 61)]
        async with asyncio.timeout(10):
            results = await asyncio.gather(*sends)
        assert {r.kind for r in results[:29]} == {SendKind.ACCEPTED}
        assert {(r.kind, r.reason) for r in results[29:]} == {(SendKind.RETRY_LATER, "GOAWAY")}
        ids = [entry["delivery_id"] for entry in rig.received()]
        assert len(ids) == len(set(ids))
        assert (await rig.send(push(99))).kind is SendKind.ACCEPTED
        assert rig.standin.connections_seen == 2


async def test_one_provider_token_serves_every_connection(tmp_path: Path) -> None:
    options = {"delay": STRICT_DELAY, "streams_max": 5}
    async with apns_rig(tmp_path, standin=options, connections_max=3) as rig:
        results = await rig.send_many(range(100))
        assert {result.kind for result in results} == {SendKind.ACCEPTED}
        assert rig.standin.connections_seen == 3
        assert len(rig.standin.tokens_seen) == 1


async def test_an_expired_token_is_minted_once_for_all_and_retried_once(tmp_path: Path) -> None:
    rules = [Rule(status=403, reason="ExpiredProviderToken", first=10)]
    async with apns_rig(tmp_path, rules, standin={"delay": STRICT_DELAY}) as rig:
        rig.standin.book.replace([])
        await rig.send(push(0))
        rig.standin.book.replace(rules)
        results = await rig.send_many(range(1, 11))
        assert {result.kind for result in results} == {SendKind.ACCEPTED}
        assert rig.token.mints == 2


async def test_a_token_refused_again_is_an_auth_fault_without_more_minting(tmp_path: Path) -> None:
    rules = [Rule(status=403, reason="ExpiredProviderToken")]
    async with apns_rig(tmp_path, rules) as rig:
        for number in range(5):
            result = await rig.send(push(number))
            assert (result.kind, result.reason) == (SendKind.AUTH, "ExpiredProviderToken")
        assert rig.token.mints == 2


async def test_after_a_missed_deadline_others_do_not_use_that_connection(tmp_path: Path) -> None:
    async with apns_rig(tmp_path, ping_timeout_s=60.0) as rig:
        await rig.send(push(0))
        rig.standin.deafen()
        result = await rig.send(push(1), timeout_s=0.2)
        assert (result.kind, result.reason) == (SendKind.UNKNOWN, "TIMEOUT")
        assert (await rig.send(push(2))).kind is SendKind.ACCEPTED
        assert rig.standin.connections_seen == 2


async def test_a_dead_connection_is_dropped_after_the_ping_deadline(tmp_path: Path) -> None:
    async with apns_rig(tmp_path, ping_timeout_s=0.2, connections_max=1) as rig:
        await rig.send(push(0))
        rig.standin.deafen()
        waiting = asyncio.ensure_future(rig.send(push(1), timeout_s=30.0))
        await rig.send(push(2), timeout_s=0.1)
        result = await waiting
        assert (result.kind, result.reason) == (SendKind.UNKNOWN, "RESET")
        assert (await rig.send(push(3))).kind is SendKind.ACCEPTED
        assert rig.standin.connections_seen == 2


async def test_an_idle_connection_is_kept_alive_by_pings(tmp_path: Path) -> None:
    async with apns_rig(tmp_path, ping_interval_s=0.05) as rig:
        await rig.send(push(0))
        await eventually(lambda: rig.standin.pings_seen >= 3)
        assert (await rig.send(push(1))).kind is SendKind.ACCEPTED
        assert rig.standin.connections_seen == 1


async def test_an_expired_request_is_cancelled_on_the_wire(tmp_path: Path) -> None:
    rules = [Rule(token_prefix="mute", action=Action.HANG)]
    async with apns_rig(tmp_path, rules) as rig:
        await rig.send(push(0))
        await rig.send(push(1, token="mute"), timeout_s=0.1)
        await eventually(lambda: rig.standin.resets_seen == 1)
        assert rig.standin.connections_seen == 1


async def test_bodies_larger_than_the_stream_window_arrive_whole(tmp_path: Path) -> None:
    async with apns_rig(tmp_path, standin={"initial_window": 100}) as rig:
        text = "x" * 3_000
        async with asyncio.timeout(10):
            results = await asyncio.gather(*[rig.send(push(n, body=text)) for n in range(40)])
        assert {result.kind for result in results} == {SendKind.ACCEPTED}
        assert {entry["body"] for entry in rig.received()} == {text}


async def test_more_bytes_in_flight_than_the_connection_window_all_arrive(tmp_path: Path) -> None:
    async with apns_rig(tmp_path, standin={"delay": STRICT_DELAY}) as rig:
        text = "x" * 3_500
        async with asyncio.timeout(10):
            results = await asyncio.gather(*[rig.send(push(n, body=text)) for n in range(120)])
        assert {result.kind for result in results} == {SendKind.ACCEPTED}


async def test_a_payload_above_4096_bytes_is_rejected_without_a_request(tmp_path: Path) -> None:
    async with apns_rig(tmp_path) as rig:
        result = await rig.send(push(body="x" * 4_096))
        assert (result.kind, result.reason) == (SendKind.REJECTED, "PayloadTooLarge")
        assert rig.received() == []


@pytest.mark.parametrize("token", ["a b", "a\r\nb", "ключ", "a/../b", "x" * 300])
async def test_a_token_that_would_break_the_connection_is_rejected_alone(
    tmp_path: Path, token: str
) -> None:
    async with apns_rig(tmp_path) as rig:
        result = await rig.send(push(token=token))
        assert (result.kind, result.reason) == (SendKind.REJECTED, "BadDeviceToken")
        assert (await rig.send(push(2))).kind is SendKind.ACCEPTED
        assert len(rig.received()) == 1


async def test_an_untrusted_server_is_not_spoken_to(tmp_path: Path) -> None:
    context = ssl.create_default_context()
    async with apns_rig(tmp_path, ssl_context=context) as rig:
        result = await rig.send(push())
        assert (result.kind, result.reason) == (SendKind.RETRY_LATER, "CONNECT")
        assert rig.received() == []


async def test_a_key_that_cannot_sign_fails_the_start(tmp_path: Path) -> None:
    async with apns_rig(tmp_path) as rig:
        rig.token._key, rig.token._header = "no key", b""
        with pytest.raises(ValueError, match="cannot sign"):
            await rig.sender.start()
        assert (await rig.send(push())).kind is SendKind.AUTH


def test_it_runs_on_uvloop_too(tmp_path: Path) -> None:
    async def run() -> None:
        async with apns_rig(tmp_path, standin={"delay": STRICT_DELAY}) as rig:
            results = await rig.send_many(range(60))
            assert {result.kind for result in results} == {SendKind.ACCEPTED}

    uvloop.run(run())
