"""Loading the Redis Functions library `tripline.lua` (commit, claim, release).

Functions are data in Redis: they are in its snapshots and reach its replicas. They are missing on
an empty server and after FUNCTION FLUSH, so whoever gets "Function not found" loads them again.

The version in their names is a digest of the code, so other code has other names: a process of the
release before goes on with its own while both are loaded. After an edit of `tripline.lua`
`python -m engine.store.functions` writes the new version into it.
"""

import re
from hashlib import sha256
from importlib.resources import files
from typing import Final

from redis.exceptions import ResponseError

from engine.store.errors import OtherFunctions
from engine.store.link import Link

SOURCE: Final = "tripline.lua"
_NAMES: Final = re.compile(
    r"^(#!lua name=tripline_|redis\.register_function\('tripline_(?:commit|claim|release)_)\w+",
    re.M,
)


def code() -> str:
    """The source of the library."""
    return files("engine.store.functions").joinpath(SOURCE).read_text(encoding="utf-8")


def stamped(source: str) -> str:
    """The source with the version that its code has by now in every name."""
    nameless = _NAMES.sub(r"\1", source)
    return _NAMES.sub(rf"\g<1>{sha256(nameless.encode()).hexdigest()[:8]}", source)


LIBRARY: Final = code().partition("\n")[0].removeprefix("#!lua name=")
VERSION: Final = LIBRARY.removeprefix("tripline_")
COMMIT: Final = f"tripline_commit_{VERSION}"
CLAIM: Final = f"tripline_claim_{VERSION}"
RELEASE: Final = f"tripline_release_{VERSION}"


def is_missing(error: Exception) -> bool:
    """Whether the server refused a call because it does not know the function."""
    return isinstance(error, ResponseError) and "Function not found" in str(error)


async def load(link: Link, *, replace: bool = False) -> None:
    """Make sure that this server has the library, with this code.

    Raises `OtherFunctions` when it has the library with other code, unless told to `replace` it,
    and what `Link.ask` raises.
    """
    wanted = code()
    present = (await loaded(link)).get(LIBRARY)
    if present is None or (replace and present != wanted):
        words = ("FUNCTION LOAD", "REPLACE") if replace else ("FUNCTION LOAD",)
        try:
            await link.ask(*words, wanted)
        except ResponseError as error:
            # Somebody else was faster. Whether with the same code, the next lines say.
            if "already exists" not in str(error):
                raise
        present = (await loaded(link)).get(LIBRARY)
    if present != wanted:
        raise OtherFunctions(
            f"Redis at {link.address} has the function library {LIBRARY} with other code than its "
            "name says: somebody changed it; load this release's code in its place"
        )


async def loaded(link: Link) -> dict[str, str]:
    """The code of our libraries of any version, by name. Raises what `Link.ask` raises."""
    libraries = await link.ask("FUNCTION LIST", "LIBRARYNAME", "tripline_*", "WITHCODE")
    found = (dict(zip(library[::2], library[1::2], strict=True)) for library in libraries)
    return {bytes(f[b"library_name"]).decode(): bytes(f[b"library_code"]).decode() for f in found}
