"""What OAuth and HTTP/1.1 add to the contract: the faults firebase-admin's async client has."""

import asyncio
import datetime as dt
from email.utils import format_datetime
from pathlib import Path

import uvloop

from engine import clock
from engine.delivery.senders import SendKind
from engine.standins.rules import Action, Delay, Rule
from tests.contract.senders.harness import fcm_rig, push
from tests.waiting import eventually


async def test_a_slow_token_endpoint_never_stops_the_loop(tmp_path: Path) -> None:
    async with fcm_rig(tmp_path, standin={"token_delay_s": 0.6}) as rig:
        worst_s = 0.0
        sending = asyncio.ensure_future(rig.send_many(range(50)))
        last_s = clock.monotonic_s()
        while not sending.done():
            await asyncio.wait([sending], timeout=0.01)
            now_s = clock.monotonic_s()
            worst_s, last_s = max(worst_s, now_s - last_s), now_s
        assert {result.kind for result in await sending} == {SendKind.ACCEPTED}
        assert worst_s < 0.4
        assert rig.standin.tokens_issued == 1


async def test_a_token_is_renewed_ahead_while_sends_go_on(tmp_path: Path) -> None:
    async with fcm_rig(tmp_path, standin={"token_lifetime_s": 4}) as rig:
        assert (await rig.send(push(0))).kind is SendKind.ACCEPTED
        # From now on the endpoint hangs for longer than a send may take.
        await eventually(lambda: rig.standin.tokens_issued >= 2, within_s=5.0)
        rig.standin.token_delay_s = 1.5
        for number in range(1, 20):
            result = await rig.send(push(number), timeout_s=0.5)
            assert result.kind is SendKind.ACCEPTED


async def test_a_revoked_token_is_refreshed_once_for_all(tmp_path: Path) -> None:
    async with fcm_rig(tmp_path) as rig:
        await rig.send(push(0))
        rig.standin.revoke_tokens()
        results = await rig.send_many(range(1, 31))
        assert {result.kind for result in results} == {SendKind.ACCEPTED}
        assert rig.standin.tokens_issued == 2


async def test_a_project_that_refuses_every_token_costs_one_refresh(tmp_path: Path) -> None:
    rules = [Rule(status=403)]
    async with fcm_rig(tmp_path, rules) as rig:
        for result in await rig.send_many(range(20)):
            assert (result.kind, result.reason) == (SendKind.AUTH, "PERMISSION_DENIED")
        assert rig.standin.tokens_issued == 2


async def test_a_refused_credential_is_an_auth_fault(tmp_path: Path) -> None:
    async with fcm_rig(tmp_path) as rig:
        rig.standin.token_status = 400
        rig.standin.revoke_tokens()
        result = await rig.send(push())
        assert (result.kind, result.reason) == (SendKind.AUTH, "CREDENTIAL")
        assert rig.received() == []


async def test_a_token_endpoint_that_is_away_is_retried_later(tmp_path: Path) -> None:
    async with fcm_rig(tmp_path, standin={"token_delay_s": 3.0}) as rig:
        result = await rig.send(push(), timeout_s=0.2)
        assert (result.kind, result.reason) == (SendKind.RETRY_LATER, "CREDENTIAL")
        # Another sender of the same refresh still gets it.
        rig.standin.token_delay_s = 0.0
        assert (await rig.send(push(2), timeout_s=20.0)).kind is SendKind.ACCEPTED


async def test_retry_after_may_be_a_date(tmp_path: Path) -> None:
    at = dt.datetime.fromtimestamp(clock.now_ms() / 1000 + 120, dt.UTC)
    rule = Rule(status=503, retry_after=format_datetime(at, usegmt=True))
    async with fcm_rig(tmp_path, [rule]) as rig:
        result = await rig.send(push())
        assert result.kind is SendKind.RETRY_LATER
        assert result.retry_after_s is not None
        assert 110 < result.retry_after_s <= 120


async def test_a_404_without_an_fcm_error_deletes_no_token(tmp_path: Path) -> None:
    rules = [
        Rule(token_prefix="bare", status=404),
        Rule(token_prefix="html", status=404, body="<html>not here</html>"),
    ]
    async with fcm_rig(tmp_path, rules) as rig:
        for token in ("bare", "html"):
            result = await rig.send(push(token=token))
            assert (result.kind, result.reason) == (SendKind.REJECTED, "NOT_FOUND")


async def test_no_more_connections_than_allowed_and_they_are_reused(tmp_path: Path) -> None:
    options = {"delay": Delay(low=5)}
    async with fcm_rig(tmp_path, standin=options, connections_max=5) as rig:
        results = await rig.send_many(range(100))
        assert {result.kind for result in results} == {SendKind.ACCEPTED}
        # Five for sends, one for the token.
        assert rig.standin.connections_seen == 6


async def test_a_timed_out_send_gives_its_place_back(tmp_path: Path) -> None:
    rules = [Rule(token_prefix="mute", action=Action.HANG)]
    async with fcm_rig(tmp_path, rules, connections_max=2) as rig:
        await rig.send_many(range(4), token="mute", timeout_s=0.3)
        assert {r.kind for r in await rig.send_many(range(10))} == {SendKind.ACCEPTED}


def test_it_runs_on_uvloop_too(tmp_path: Path) -> None:
    async def run() -> None:
        async with fcm_rig(tmp_path, standin={"delay": Delay(low=5)}) as rig:
            results = await rig.send_many(range(60))
            assert {result.kind for result in results} == {SendKind.ACCEPTED}

    uvloop.run(run())
