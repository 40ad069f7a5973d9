"""`tripline diff`: against folders and commits, its exit codes and its JSON."""

import json
import subprocess
from pathlib import Path

import pytest

from engine.impact.registered import after_apply, in_force
from engine.registry.folder import Folder
from engine.registry.versions import RegistryVersion
from tests.unit.backtest.histories import CART, HOUR, LOOK, MINUTE, event
from tests.unit.backtest.test_cli import tripline, write_events
from triggers.compile import RegisteredTrigger
from triggers.definition import Policy, TriggerDefinition

EVENTS = [event(0, "ann", "Product Added"), event(30 * MINUTE, "ann", "Product Viewed")]
EVENTS += [event(3 * HOUR, "bob", "Product Viewed"), event(24 * HOUR, "bob", "Other")]


def write(folder: Path, *triggers: dict[str, object], policy: str = "default: {}\n") -> Path:
    (folder / "triggers").mkdir(parents=True, exist_ok=True)
    for trigger in triggers:
        (folder / "triggers" / f"{trigger['id']}.yaml").write_text(json.dumps(trigger))
    (folder / "policy.yaml").write_text(policy)
    return folder


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return write(tmp_path / "before", CART, LOOK)


@pytest.fixture
def after(tmp_path: Path) -> Path:
    return write(tmp_path / "after", CART, LOOK, policy="default: {spacing: 2h}\n")


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return write_events(tmp_path / "events.jsonl", EVENTS)


def test_equal_folders_end_with_0_and_different_ones_with_1(before: Path, after: Path) -> None:
    assert tripline("diff", before, "--against", before).stdout == "no differences\n"
    answer = tripline("diff", after, "--against", before, code=1)
    assert answer.stdout == '~ policy default\n    spacing: "0s" -> "2h"\n'


def test_the_json_is_pinned(before: Path, after: Path, events: Path) -> None:
    answer = tripline("diff", after, "--against", before, "--impact", events, "-o", "json")
    side = {"candidates": 1, "admitted": 1, "per_day": 1.0, "per_month": 30.0}
    look = {"candidates": 2, "admitted": 2, "per_day": 2.0, "per_month": 60.0}
    total = {"candidates": 3, "admitted": 3, "per_day": 3.0, "per_month": 90.0}
    assert json.loads(answer.stdout) == {
        "version": 1,
        "changes": [
            {
                "kind": "policy",
                "name": "default",
                "change": "changed",
                "fields": [{"path": "spacing", "before": "0s", "after": "2h"}],
            }
        ],
        "impact": {
            "events": 4,
            "users": 2,
            "days": 1.0,
            "triggers": {
                "cart": {
                    "before": side,
                    "after": {**side, "admitted": 0, "per_day": 0.0, "per_month": 0.0},
                    "newly_suppressed": {"SPACING": 1},
                    "newly_sent": 0,
                },
                "look": {
                    "before": look,
                    "after": look,
                    "newly_suppressed": {},
                    "newly_sent": 0,
                },
            },
            "all": {
                "before": total,
                "after": {**total, "admitted": 2, "per_day": 2.0, "per_month": 60.0},
                "newly_suppressed": {"SPACING": 1},
                "newly_sent": 0,
            },
            "users_over": {"messages": 3, "before": 0, "after": 0},
            "per_user_per_day": {
                "p99": {"before": 2, "after": 1},
                "most": {"before": 2, "after": 1},
            },
            "collisions": [
                {"kept_back": "cart", "by": "look", "reason": "SPACING", "before": 0, "after": 1}
            ],
            "budgets": [],
        },
    }


def test_a_broken_budget_ends_with_1(before: Path, after: Path, events: Path) -> None:
    arguments = ["diff", after, "--against", before, "--impact", events]
    (after / "budgets.yaml").write_text("newly_suppressed: {share: 5%}\n")
    answer = tripline(*arguments, code=1)
    assert "over budget: newly_suppressed.share" in answer.stderr
    (after / "budgets.yaml").write_text("newly_suppressed: {share: 50%}\n")
    assert "ok   newly_suppressed.share" in tripline(*arguments).stdout


def test_a_wrong_budget_file_ends_with_2(before: Path, after: Path) -> None:
    (after / "budgets.yaml").write_text("newly_suppresed: {share: 5%}\n")
    answer = tripline("diff", after, "--against", before, code=2)
    assert answer.stderr.startswith("budgets.yaml:1:1: unknown field 'newly_suppresed'")


def test_a_budget_file_that_says_nothing_limits_nothing(
    before: Path, after: Path, events: Path
) -> None:
    arguments = ["diff", after, "--against", before, "--impact", events]
    for text in ("", "# newly_suppressed: {share: 5%}\n"):
        (after / "budgets.yaml").write_text(text)
        assert "budgets:" not in tripline(*arguments).stdout
    missing = after / "none.yaml"
    answer = tripline(*arguments, "--budgets", missing, code=2)
    assert answer.stderr == f"{missing}: No such file or directory\n"


def test_strict_refuses_events_with_a_bad_row(before: Path, after: Path, events: Path) -> None:
    events.write_bytes(events.read_bytes() + b"{oops\n")
    arguments = ["diff", after, "--against", before, "--impact", events]
    assert "MALFORMED_JSON: 1" in tripline(*arguments).stderr
    assert f"{events}:5: MALFORMED_JSON" in tripline(*arguments, "--strict", code=2).stderr


def test_a_folder_is_compared_with_a_commit(before: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(
            ["git", *identity, "-C", str(before.parent), *arguments],
            check=True,
            capture_output=True,
        )

    git("init", "-q")
    (before.parent / "README.md").write_text("none of it is definitions\n")
    git("add", "README.md")
    git("commit", "-qm", "none")
    git("add", "before")
    git("commit", "-qm", "first")
    answer = tripline("diff", before, "--against", "git:HEAD~1", code=1)
    new = f"--against git:HEAD~1: {before} is not there at HEAD~1: all of it is new\n"
    assert (answer.stdout, answer.stderr) == ("+ trigger cart\n+ trigger look\n", new)
    assert tripline("diff", before, "--against", "git:HEAD").stdout == "no differences\n"
    write(before, {**CART, "wait": "2h"})
    (before / "triggers" / "look.yaml").unlink()
    answer = tripline("diff", before, "--against", "git:HEAD", code=1)
    assert '    wait: "1h" -> "2h"' in answer.stdout
    assert "- trigger look" in answer.stdout
    answer = tripline("diff", before, "--against", "HEAD", code=2)
    assert answer.stderr == "--against HEAD: no folder; a commit is git:HEAD\n"
    answer = tripline("diff", before, "--against", "git:--help", code=2)
    assert "git knows no commit '--help'" in answer.stderr


@pytest.mark.parametrize(
    "options",
    [["--over", 0], ["--budgets", "b.yaml"], ["--map", "m.yaml"], ["--sort"], ["--from", "7d"]],
)
def test_an_option_about_events_without_events_is_refused(
    before: Path, after: Path, options: list[object]
) -> None:
    answer = tripline("diff", after, "--against", before, *options, code=2)
    assert answer.stderr == f"{options[0]} goes with --impact EVENTS\n"


def test_prune_is_refused_where_no_registry_is_asked(before: Path, after: Path) -> None:
    answer = tripline("diff", after, "--against", before, "--prune", code=2)
    assert answer.stderr == "--prune is about the registry: --against compares all\n"


def test_a_mistake_on_the_other_side_says_which_side_it_is(before: Path, after: Path) -> None:
    write(before, {**CART, "wiat": "2h"})
    answer = tripline("diff", after, "--against", before, code=2)
    assert answer.stderr.startswith(f"--against {before}: triggers/cart.yaml:1:")
    answer = tripline("diff", before, "--against", after, code=2)
    assert answer.stderr.startswith("triggers/cart.yaml:1:")


def test_markdown_is_for_a_pull_request(before: Path, after: Path, events: Path) -> None:
    arguments = ["diff", after, "--against", before, "--impact", events, "-o", "markdown"]
    assert tripline(*arguments).stdout.startswith("### Tripline")


def held(document: dict[str, object], state: str) -> RegisteredTrigger:
    return RegisteredTrigger(TriggerDefinition.model_validate(document), 3, state, 0)


def test_against_the_registry_a_trigger_stopped_by_hand_stays_stopped() -> None:
    version = RegistryVersion(4, {"cart": held(CART, "paused")}, {"default": Policy()}, {})
    wanted = Folder({"cart": TriggerDefinition.model_validate({**CART, "wait": "2h"})}, {}, {})
    assert in_force(version).triggers["cart"].state == "paused"
    assert after_apply(version, wanted, prune=False).triggers["cart"].state == "paused"


def test_against_the_registry_what_the_folder_lacks_goes_with_prune_only() -> None:
    strict = Policy.model_validate({"spacing": "2h"})
    version = RegistryVersion(4, {"look": held(LOOK, "live")}, {"default": strict}, {})
    wanted = Folder({"cart": TriggerDefinition.model_validate(CART)}, {}, {})
    kept = after_apply(version, wanted, prune=False)
    assert sorted(kept.triggers) == ["cart", "look"]
    assert kept.policies["default"] == strict
    pruned = after_apply(version, wanted, prune=True)
    assert sorted(pruned.triggers) == ["cart"]
    assert pruned.policies["default"] == Policy()
