"""The registry's verbs against a real Kafka."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from engine.cli.main import make_app
from engine.local.kafka import KafkaBroker
from engine.local.ports import free_port
from engine.ports import START
from engine.registry.changes import Plan
from engine.registry.operations import Signature, WritableRegistry
from engine.store.redis import RedisStore
from tests.contract.store.shards import Shard
from tests.integration.registry.world import (
    PARTITIONS,
    SECRET,
    World,
    everything,
    make_world,
    trigger,
)

pytestmark = pytest.mark.service

CART = """\
id: abandoned-cart
name: Abandoned cart
owner: growth@shop.example
state: live
priority: 70
when: {event: Product Added}
unless: {event: Order Completed}
wait: 2h
message: {push: {title: {en: "Your cart"}, body: {en: "It is waiting"}}}
"""
QUIET = "id: long-silence\nstate: shadow\nclass: transactional\nwhen: {idle: 7d}\n"


@pytest.fixture
def world(kafka: KafkaBroker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("TRIPLINE_KAFKA_SERVERS", kafka.servers)
    monkeypatch.setenv("TRIPLINE_TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("TRIPLINE_LOG_SECRET", SECRET)
    return asyncio.run(make_world(kafka.servers, topic_prefix))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers" / "cart.yaml").write_text(CART)
    (tmp_path / "triggers" / "quiet.yaml").write_text(QUIET)
    (tmp_path / "policy.yaml").write_text("default: {spacing: 2h}\n")
    return tmp_path


def tripline(*arguments: object, code: int = 0) -> Result:
    answer = CliRunner().invoke(make_app(), [str(argument) for argument in arguments])
    assert answer.exit_code == code, (answer.exit_code, answer.output, answer.exception)
    return answer


def changes(answer: Result) -> dict[str, tuple[str, int]]:
    rows = json.loads(answer.stdout)["changes"]
    return {row["name"]: (row["change"], row["revision"]) for row in rows}


def activations(world: World) -> dict[int, list[int]]:
    return asyncio.run(world.activations())


def test_apply_says_what_changed_and_get_shows_what_is_registered(
    world: World, folder: Path
) -> None:
    first = tripline("apply", folder)
    assert [line.split()[:5] for line in first.stdout.splitlines()] == [
        ["KIND", "NAME", "CHANGE", "REVISION", "STATE"],
        ["trigger", "abandoned-cart", "created", "1", "live"],
        ["trigger", "long-silence", "created", "1", "shadow"],
        ["policy", "default", "created", "1"],
    ]
    assert first.stderr == f"version 4 is in force: {PARTITIONS} partitions were told\n"
    listed = tripline("get")
    assert [line.split() for line in listed.stdout.splitlines()] == [
        ["ID", "STATE", "REVISION", "PATTERN", "CLASS", "PRIORITY", "OWNER"],
        ["abandoned-cart", "live", "1", "absence", "marketing", "70", "growth@shop.example"],
        ["long-silence", "shadow", "1", "idle", "transactional", "50", "-"],
    ]
    assert tripline("get", "-o", "name").stdout == "abandoned-cart\nlong-silence\n"
    assert "Abandoned cart" in tripline("get", "-o", "wide").stdout


def test_a_second_apply_makes_a_revision_of_what_was_edited_only(
    world: World, folder: Path
) -> None:
    tripline("apply", folder)
    (folder / "triggers" / "cart.yaml").write_text(CART.replace("2h", "3h"))
    edited = tripline("apply", folder, "-o", "json")
    assert changes(edited) == {
        "abandoned-cart": ("changed", 2),
        "long-silence": ("unchanged", 1),
        "default": ("unchanged", 1),
    }
    told = json.loads(edited.stdout)
    assert (told["version"], told["base"], told["registry"]) == (1, 4, 6)
    assert told["partitions"] == PARTITIONS
    assert activations(world) == {partition: [4, 6] for partition in range(PARTITIONS)}
    for revision, wait in ((1, "2h"), (2, "3h")):
        shown = tripline("get", "abandoned-cart", "--revision", revision, "-o", "json")
        (found,) = json.loads(shown.stdout)["triggers"]
        assert (found["revision"], found["document"]["wait"]) == (revision, wait)


def test_a_canary_begins_grows_and_is_promoted_or_aborted(world: World, folder: Path) -> None:
    tripline("apply", folder)
    cart = folder / "triggers" / "cart.yaml"
    cart.write_text(CART.replace("2h", "3h"))
    begun = tripline("apply", folder, "--canary", "5%")
    assert "canary for 5%, the others keep revision 1" in begun.stdout
    grown = tripline("apply", folder, "--canary", "20%", "-o", "json")
    assert changes(grown)["abandoned-cart"] == ("changed", 2)
    (found,) = json.loads(tripline("get", "abandoned-cart", "-o", "json").stdout)["triggers"]
    assert (found["revision"], found["canary"]) == (1, "2 for 20%")
    aborted = tripline("abort", "abandoned-cart", "-o", "json")
    assert changes(aborted) == {"abandoned-cart": ("changed", 1)}
    tripline("abort", "abandoned-cart", code=1)
    tripline("apply", folder, "--canary", "5%")
    promoted = tripline("promote", "abandoned-cart", "-o", "json")
    assert changes(promoted) == {"abandoned-cart": ("changed", 3)}
    (found,) = json.loads(tripline("get", "abandoned-cart", "-o", "json").stdout)["triggers"]
    assert (found["revision"], found["canary"], found["document"]["wait"]) == (3, None, "3h")


@pytest.mark.parametrize("share", ["5", "0%", "100%", "all"])
def test_a_canary_is_for_a_share_of_the_users(world: World, folder: Path, share: str) -> None:
    tripline("apply", folder, "--canary", share, code=2)
    assert asyncio.run(everything(world.settings, world.topics.registry)) == []


def test_get_gives_the_same_as_json_and_yaml(world: World, folder: Path) -> None:
    tripline("apply", folder)
    as_json = json.loads(tripline("get", "abandoned-cart", "-o", "json").stdout)
    as_yaml = YAML(typ="safe").load(tripline("get", "abandoned-cart", "-o", "yaml").stdout)
    assert as_json == as_yaml
    assert as_json["version"] == 1
    assert as_json["registry"] == 4
    (found,) = as_json["triggers"]
    assert found["pattern"] == "absence"
    assert found["registered_at"].endswith("Z")
    assert found["document"]["wait"] == "2h"


def test_a_wrong_folder_registers_nothing(world: World, folder: Path) -> None:
    (folder / "triggers" / "bad.yaml").write_text(CART.replace("wait:", "wiat:"))
    answer = tripline("apply", folder, code=2)
    assert "triggers/bad.yaml:8:1: " in answer.stderr
    assert asyncio.run(everything(world.settings, world.topics.registry)) == []
    assert asyncio.run(world.log()) == []


def test_a_dry_run_shows_the_difference_and_writes_nothing(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRIPLINE_LOG_SECRET")  # who only looks needs no secret
    answer = tripline("apply", folder, "--dry-run", "-o", "json")
    assert changes(answer)["abandoned-cart"] == ("created", 1)
    assert json.loads(answer.stdout)["dry_run"] is True
    assert asyncio.run(everything(world.settings, world.topics.registry)) == []
    assert asyncio.run(world.log()) == []


def test_an_apply_without_changes_activates_the_same_version_again(
    world: World, folder: Path
) -> None:
    tripline("apply", folder)
    again = tripline("apply", folder)
    assert "nothing changed: version 4 was activated again" in again.stderr
    assert activations(world) == {partition: [4, 4] for partition in range(PARTITIONS)}


def test_triggers_that_are_not_in_the_folder_stay_unless_pruned(world: World, folder: Path) -> None:
    tripline("apply", folder)
    (folder / "triggers" / "quiet.yaml").unlink()
    assert changes(tripline("apply", folder, "-o", "json"))["long-silence"] == ("kept", 1)
    pruned = tripline("apply", folder, "--prune", "-o", "json")
    assert changes(pruned)["long-silence"] == ("removed", 1)
    assert tripline("get", "-o", "name").stdout == "abandoned-cart\n"
    tripline("get", "long-silence", code=4)
    tripline("get", "long-silence", "--revision", 1)


def test_a_paused_trigger_stays_paused_over_an_apply_until_it_is_resumed(
    world: World, folder: Path
) -> None:
    tripline("apply", folder)
    assert "paused" in tripline("pause", "abandoned-cart", "-m", "too loud").stdout
    (folder / "triggers" / "cart.yaml").write_text(CART.replace("2h", "3h"))
    assert "its file says live" in tripline("apply", folder).stdout
    assert tripline("get", "abandoned-cart").stdout.splitlines()[1].split()[1:3] == ["paused", "2"]
    tripline("resume", "abandoned-cart")
    assert tripline("get", "abandoned-cart").stdout.splitlines()[1].split()[1:3] == ["live", "2"]
    assert [len(numbers) for numbers in activations(world).values()] == [4] * PARTITIONS


def test_what_is_not_registered_ends_with_4(world: World, folder: Path) -> None:
    for verb in ("get", "pause", "resume"):
        assert "no trigger abandoned-cart" in tripline(verb, "abandoned-cart", code=4).stderr
    tripline("apply", folder)
    missing = tripline("get", "abandoned-cart", "--revision", 2, code=4)
    assert missing.stderr == "trigger abandoned-cart has no revision 2\n"


def test_an_empty_registry_is_no_error(world: World) -> None:
    empty = tripline("get")
    assert (empty.stdout, empty.stderr) == ("", "no triggers are registered\n")
    assert json.loads(tripline("get", "-o", "json").stdout)["triggers"] == []


def test_who_applies_second_ends_with_5(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = WritableRegistry.write

    async def overtaken(mine: WritableRegistry, plan: Plan, signature: Signature) -> int:
        monkeypatch.setattr(WritableRegistry, "write", write)
        await world.apply(trigger("theirs"))
        return await write(mine, plan, signature)

    monkeypatch.setattr(WritableRegistry, "write", overtaken)
    answer = tripline("apply", folder, code=5)
    assert answer.stdout == ""
    assert "nothing was changed, run the command again" in answer.stderr
    assert tripline("get", "-o", "name").stdout == "theirs\n"
    tripline("apply", folder)
    assert tripline("get", "-o", "name").stdout == "abandoned-cart\nlong-silence\ntheirs\n"


def test_the_console_command_keeps_stdout_for_data(world: World, folder: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        script = [sys.executable, "-c", "from engine.cli.main import main; main()"]
        return subprocess.run(
            [*script, *arguments], capture_output=True, text=True, check=True, timeout=60
        )

    applied = call("apply", str(folder), "-o", "json")
    assert json.loads(applied.stdout)["registry"] == 4
    assert applied.stderr == f"version 4 is in force: {PARTITIONS} partitions were told\n"
    assert call("get", "-o", "name").stdout == "abandoned-cart\nlong-silence\n"


def test_apply_counts_pending_instances_of_what_it_edits_and_cancels_them_when_told(
    world: World, folder: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIPLINE_REDIS_URL", redis_url)
    monkeypatch.setenv("TRIPLINE_PARTITIONS", str(PARTITIONS))
    tripline("apply", folder)
    asyncio.run(
        armed(redis_url, {"abandoned-cart|1": 2}, {"abandoned-cart|1": 1, "long-silence|1": 9})
    )
    (folder / "triggers" / "cart.yaml").write_text(CART.replace("2h", "3h"))
    assert pending(tripline("apply", folder, "--dry-run", "-o", "json")) == {"abandoned-cart": 3}
    kept = tripline("apply", folder)
    assert [line.split()[5:] for line in kept.stdout.splitlines()][:2] == [
        ["PENDING", "NOTE"],
        ["3"],
    ]
    assert "pending instances of edited triggers keep their deadlines" in kept.stderr
    (folder / "triggers" / "cart.yaml").write_text(CART.replace("2h", "4h"))
    cancelled = tripline("apply", folder, "--pending", "cancel", "-o", "json")
    assert pending(cancelled) == {"abandoned-cart": 3}
    assert "pending instances of edited triggers are cancelled" in cancelled.stderr
    asyncio.run(armed(redis_url, {}, {}, {"abandoned-cart|3": 1}))
    (folder / "triggers" / "cart.yaml").unlink()
    assert pending(tripline("apply", folder, "--prune", "-o", "json")) == {"abandoned-cart": 1}
    assert "abandoned-cart" not in pending(tripline("apply", folder, "-o", "json"))


def test_an_apply_does_not_need_redis_and_says_what_it_did_not_count(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIPLINE_REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    tripline("apply", folder)
    (folder / "triggers" / "cart.yaml").write_text(CART.replace("2h", "3h"))
    answer = tripline("apply", folder, "-o", "json")
    assert pending(answer) == {"abandoned-cart": None}
    assert "pending instances are not counted: Redis cannot be reached" in answer.stderr


async def armed(redis_url: str, *counts: dict[str, int]) -> None:
    """What the commits of shards 0, 1, ... would have counted."""
    store = RedisStore(redis_url)
    for number, pending in enumerate(counts):
        shard = Shard(store, number)
        meta = await store.load_shard(number)
        shard.position = START if meta is None else meta.position
        await shard.write(pending=pending)
    await store.aclose()


def pending(answer: Result) -> dict[str, int | None]:
    rows = json.loads(answer.stdout)["changes"]
    return {row["name"]: row["pending"] for row in rows if "pending" in row}


def test_diff_compares_with_what_is_in_force(world: World, folder: Path) -> None:
    tripline("diff", folder, code=1)
    tripline("apply", folder)
    assert tripline("diff", folder).stdout == "no differences\n"
    (folder / "triggers" / "cart.yaml").write_text(CART.replace("wait: 2h", "wait: 3h"))
    (folder / "triggers" / "quiet.yaml").unlink()
    expected = '~ trigger abandoned-cart\n    wait: "2h" -> "3h"\n'
    assert tripline("diff", folder, code=1).stdout == expected
    assert tripline("diff", folder, "--prune", code=1).stdout == (
        expected + "- trigger long-silence\n"
    )
    tripline("apply", folder)
    tripline("pause", "abandoned-cart")
    assert tripline("diff", folder).stdout == "no differences\n"
