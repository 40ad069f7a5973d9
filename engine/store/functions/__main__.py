"""`python -m engine.store.functions`: write the version of the code into its names."""

from pathlib import Path

from engine.store.functions import SOURCE, code, stamped

if __name__ == "__main__":
    (Path(__file__).parent / SOURCE).write_text(stamped(code()), encoding="utf-8")
