"""Tables for people, and the section of docs/benchmarks.md they are kept in."""

from pathlib import Path
from statistics import median

PAGE = Path("docs/benchmarks.md")
BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"


def mid(values: list[float]) -> float:
    """The median, nan without values."""
    return median(values) if values else float("nan")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(sections: list[str]) -> None:
    """Put the sections between the markers of the page."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    body = "\n\n".join(sections)
    PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}")
