"""The table of the runs: from what `make chaos` wrote to the page that shows it.

python -m tests.chaos.table            # write it into docs/reliability.md, between its markers
python -m tests.chaos.table --print
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
REPORT: Final = ROOT / "build" / "chaos" / "report.json"
PAGE: Final = ROOT / "docs" / "reliability.md"

BEGIN: Final = "<!-- the runs: python -m tests.chaos.table -->"
END: Final = "<!-- end of the runs -->"

_HEAD: Final = ("run", "what holds", "faults", "records", "lost", "duplicated", "bound", "seconds")


def words(test: str) -> str:
    """The sentence of a test's name, with its parameters."""
    name, _, parameters = test.rpartition("::")[2].partition("[")
    told = f" ({parameters.rstrip(']')})" if parameters else ""
    return name.removeprefix("test_").replace("_", " ") + told


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as Markdown; a run that did not hold is said to have failed."""
    lines = [f"| {' | '.join(_HEAD)} |", "|---|---|---|" + "---:|" * (len(_HEAD) - 3)]
    for row in rows:
        faults = ", ".join(f"{count} × {fault}" for fault, count in sorted(row["faults"].items()))
        cells = [row["run"] if row["held"] else f"{row['run']} **failed**", words(row["test"]), faults]
        cells += [str(row[name]) for name in ("records", "lost", "duplicated", "bound")]
        cells.append(f"{row['seconds']:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def written(page: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """The page with the table between its markers."""
    listed = list(rows)
    seeds = ", ".join(sorted({str(row["seed"]) for row in listed}))
    fresh = f"{BEGIN}\nSeed {seeds}.\n\n{table(listed)}\n{END}"
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: fresh, page, flags=re.DOTALL)


def main(arguments: list[str]) -> int:
    """Write the page, or print the table."""
    if not REPORT.exists():
        print(f"{REPORT.relative_to(ROOT)} is missing: run make chaos first", file=sys.stderr)
        return 2
    rows = json.loads(REPORT.read_text())
    failed = [row["test"] for row in rows if not row["held"]]
    if arguments == ["--print"]:
        print(table(rows))
    elif failed:
        print(f"the page is left as it is, these runs failed: {', '.join(failed)}", file=sys.stderr)
        return 1
    else:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
