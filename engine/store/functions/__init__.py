"""Loading the Redis Functions library `tripline.lua` (commit, claim, release).

Functions are data in Redis: they are in its snapshots and reach its replicas. They are missing on
an empty server and after FUNCTION FLUSH, so whoever gets "Function not found" loads them again.
"""

from importlib.resources import files

from redis.exceptions import ResponseError

from engine.store.errors import OtherFunctions
from engine.store.link import Link

LIBRARY = "tripline_1"
COMMIT = "tripline_commit_1"
CLAIM = "tripline_claim_1"
RELEASE = "tripline_release_1"


def code() -> str:
    """The source of the library."""
    return files(__name__).joinpath("tripline.lua").read_text(encoding="utf-8")


def is_missing(error: Exception) -> bool:
    """Whether the server refused a call because it does not know the function."""
    return isinstance(error, ResponseError) and "Function not found" in str(error)


async def load(link: Link, *, replace: bool = False) -> None:
    """Make sure that this server has the library, with this code.

    Raises `OtherFunctions` when it has the library with other code, unless told to `replace` it,
    and what `Link.ask` raises.
    """
    wanted = code()
    loaded = await _loaded_code(link)
    if loaded is None or (replace and loaded != wanted):
        words = ("FUNCTION LOAD", "REPLACE") if replace else ("FUNCTION LOAD",)
        try:
            await link.ask(*words, wanted)
        except ResponseError as error:
            # Somebody else was faster. Whether with the same code, the next lines say.
            if "already exists" not in str(error):
                raise
        loaded = await _loaded_code(link)
    if loaded != wanted:
        raise OtherFunctions(
            f"Redis at {link.address} has the function library {LIBRARY} with other code than this "
            "version of Tripline: stop the other version, or replace the library"
        )


async def _loaded_code(link: Link) -> str | None:
    libraries = await link.ask("FUNCTION LIST", "LIBRARYNAME", LIBRARY, "WITHCODE")
    for library in libraries:
        fields = dict(zip(library[::2], library[1::2], strict=True))
        return bytes(fields[b"library_code"]).decode()
    return None
