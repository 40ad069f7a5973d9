from pathlib import Path

import pytest

from engine.registry.folder import NotAWorkspaceError, load_folder
from triggers.workspace import DefinitionErrors

TRIGGER = "id: a\nwhen: {event: Product Added}\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_triggers_and_policies_are_read_from_their_files(tmp_path: Path) -> None:
    folder = write(tmp_path, triggers__a_DOT_yaml=TRIGGER, policy_DOT_yaml="strict: {spacing: 2h}")
    found = load_folder(folder)
    assert set(found.triggers) == {"a"}
    assert set(found.policies) == {"strict"}


def test_a_default_policy_that_is_not_written_down_is_not_registered(tmp_path: Path) -> None:
    assert load_folder(write(tmp_path, triggers__a_DOT_yaml=TRIGGER)).policies == {}
    written = write(tmp_path, policy_DOT_yaml="default: {spacing: 1h}")
    assert load_folder(written).policies["default"].spacing_ms == 3_600_000


def test_a_misspelt_policy_file_is_an_error_and_other_files_are_not(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        triggers__a_DOT_yaml=TRIGGER,
        README_DOT_md="about",
        mapping_DOT_yaml="user: u",
        _DOT_hidden_DOT_yaml="x: y",
    )
    assert set(load_folder(folder).triggers) == {"a"}
    write(folder, polciy_DOT_yaml="default: {spacing: 1h}")
    with pytest.raises(DefinitionErrors, match=r"^polciy.yaml:1:1: .*policy.yaml"):
        load_folder(folder)


def test_an_unknown_time_zone_is_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path, policy_DOT_yaml="default: {zone: Asia/Almatty}")
    with pytest.raises(DefinitionErrors, match=r"^policy.yaml:1:17: .*Almatty"):
        load_folder(folder)


def test_bytes_that_are_no_text_are_an_error_with_a_place(tmp_path: Path) -> None:
    folder = write(tmp_path, triggers__a_DOT_yaml=TRIGGER)
    (folder / "triggers" / "b.yaml").write_bytes(b"id: b\xff\n")
    with pytest.raises(DefinitionErrors, match=r"^triggers/b.yaml:1:6: "):
        load_folder(folder)


def test_a_folder_without_definitions_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(NotAWorkspaceError, match="holds no definitions"):
        load_folder(tmp_path)
    with pytest.raises(NotAWorkspaceError, match="is not a folder"):
        load_folder(tmp_path / "absent")
