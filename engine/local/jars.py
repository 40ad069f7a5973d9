"""Where Java, the Kafka jars and what was prepared beside them lie on this machine."""

import os
import shutil
from pathlib import Path

from engine.local.errors import MissingProgramError

KAFKA_VERSION = "4.1.0"
"""The version deploy/kafka/pom.xml names; the jars lie in `.state/kafka/<version>/libs`."""


def find_java() -> str:
    """The `java` on PATH or under JAVA_HOME. Raises `MissingProgramError`."""
    home = os.environ.get("JAVA_HOME")
    path = (shutil.which("java", path=f"{home}/bin") if home else None) or shutil.which("java")
    if path is None:
        raise MissingProgramError("java is not installed: run `make setup`")
    return path


def find_libs() -> Path:
    """The folder of the Kafka jars. Raises `MissingProgramError` when they were not fetched.

    Looked for in TRIPLINE_KAFKA_LIBS, then under `.state/` of the working directory, then under
    `.state/` of the source tree.
    """
    named = os.environ.get("TRIPLINE_KAFKA_LIBS")
    below = Path(".state") / "kafka" / KAFKA_VERSION / "libs"
    source_tree = Path(__file__).resolve().parents[2]
    places = [Path(named)] if named else [Path.cwd() / below, source_tree / below]
    for place in places:
        if any(place.glob("kafka_2.13-*.jar")):
            return place.resolve()
    looked = ", ".join(str(place) for place in places)
    raise MissingProgramError(f"no Kafka jars in {looked}: run `make setup`")


def class_path(libs: Path) -> str:
    """Every jar by name: a class archive is only used with the class path it was made with."""
    return os.pathsep.join(str(jar) for jar in sorted(libs.glob("*.jar")))


def class_archive_path(libs: Path, java: str) -> Path:
    """Where the class archive for this JVM lies, whether or not it exists.

    The name carries the JVM's size and modification time: an archive made by another build of
    the JVM would be refused.
    """
    library = Path(java).resolve().parents[1] / "lib" / "server" / "libjvm.so"
    seen = library if library.exists() else Path(java).resolve()
    status = seen.stat()
    return libs.parent / f"classes-{status.st_size:x}-{int(status.st_mtime):x}.jsa"


def storage_template_path(libs: Path) -> Path:
    """Where a formatted, empty data directory lies that new brokers copy, if there is one."""
    return libs.parent / "formatted"
