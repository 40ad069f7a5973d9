"""The library as text: its names, and the bounds it shares with the memory store."""

import re

from engine.store import functions, keys


def test_the_library_and_its_functions_carry_the_version() -> None:
    code = functions.code()
    assert code.startswith(f"#!lua name={functions.LIBRARY}\n")
    registered = set(re.findall(r"register_function\('(\w+)'", code))
    assert registered == {functions.COMMIT, functions.CLAIM, functions.RELEASE}


def test_both_stores_share_their_bounds() -> None:
    found = dict(re.findall(r"^local ([A-Z_]+_MAX|RING_SPARE) = (\d+)$", functions.code(), re.M))
    assert found == {
        "RING_SPARE": str(keys.RING_SPARE),
        "RING_MAX": str(keys.RING_MAX),
        "JOURNAL_MAX": str(keys.JOURNAL_MAX),
    }


def test_the_library_uses_no_command_that_reads_a_clock_draws_lots_or_sets_a_ttl() -> None:
    calls = r"(?:redis\.p?call|write_plain|call_with)\('(\w+)'"
    used = set(re.findall(calls, functions.code()))
    assert used == {
        "DEL",
        "EXISTS",
        "GET",
        "HDEL",
        "HINCRBY",
        "HKEYS",
        "HMGET",
        "HSET",
        "HSETNX",
        "LTRIM",
        "MSET",
        "RPUSH",
        "SET",
        "ZADD",
        "ZRANGE",
        "ZREM",
    }
    assert not re.search(r"'(EX|PX|EXAT|PXAT)'|math\.random|os\.", functions.code())


def test_the_version_in_the_names_is_that_of_the_code() -> None:
    assert functions.stamped(functions.code()) == functions.code(), (
        "tripline.lua has changed: python -m engine.store.functions writes its new version"
    )


def test_other_code_has_other_names() -> None:
    source = functions.code()
    other = functions.stamped(source.replace("local RING_SPARE = 8", "local RING_SPARE = 9"))
    names = set(re.findall(r"tripline_(?:\w+_)?[0-9a-f]{8}", source))
    assert {functions.LIBRARY, functions.COMMIT, functions.CLAIM, functions.RELEASE} <= names
    assert len(names) == 4
    assert not any(name in other for name in names)
