"""A workspace folder as a commit of its repository has it."""

import io
import subprocess
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final

from engine.registry.folder import Folder, NotAWorkspaceError, load_texts, may_define

_TIMEOUT_S: Final = 60


class GitRefused(Exception):
    """git is missing, the folder is in no repository, or there is no such commit."""


def load_revision(folder: Path, ref: str) -> Folder:
    """The definitions of `folder` at a branch, tag or commit.

    Raises GitRefused, NotAWorkspaceError, DefinitionErrors.
    """
    wanted = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"]
    try:
        commit = _git(folder, wanted).decode().strip()
    except GitRefused as error:
        raise GitRefused(str(error) or f"git knows no commit '{ref}' in {folder}") from None
    texts = {}
    if not _git(folder, ["ls-tree", commit]):
        raise NotAWorkspaceError(f"{folder} is not there at {ref}")
    with tarfile.open(fileobj=io.BytesIO(_git(folder, ["archive", commit, "."]))) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            inside = path.parent in (PurePosixPath("."), PurePosixPath("triggers"))
            if member.isfile() and inside and may_define(path):
                content = archive.extractfile(member)
                assert content is not None  # it is a file
                texts[path.as_posix()] = content.read().decode("utf-8", "surrogateescape")
    if not texts:
        raise NotAWorkspaceError(f"{folder} holds no definitions at {ref}")
    return load_texts(texts)


def _git(folder: Path, arguments: list[str]) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise GitRefused("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise GitRefused(f"git did not answer within {_TIMEOUT_S} s") from None
    if done.returncode:
        raise GitRefused(done.stderr.decode(errors="replace").strip())
    return done.stdout
