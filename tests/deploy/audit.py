"""Known vulnerabilities of what the locks pin, as pip-audit finds them; run by `make audit`.

Exit codes: 0 none is known, 1 some are, 3 no database could be asked, so nothing is known either way.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.deploy.tools import ROOT, Unavailable, python_tools, run

LOCKS: Final = ("requirements-image.lock", "requirements-dev.lock", "requirements-deploy.lock")
"""The image's first: it holds what every install holds."""

DATABASES: Final = ("pypi", "osv")
SECONDS: Final = 300.0
FOUND: Final = 1
UNKNOWN: Final = 3

Ask = Callable[[str, str], tuple[str, str]]
"""By lock and database: what pip-audit printed, and what it complained of."""


def ask(lock: str, database: str) -> tuple[str, str]:
    """Run pip-audit; it installs nothing, for the lock is whole."""
    command: list[str | Path] = [
        python_tools() / "pip-audit",
        "--requirement",
        ROOT / lock,
        "--disable-pip",
        "--require-hashes",
    ]
    try:
        said = run([*command, "--vulnerability-service", database, "--format", "json"], seconds=SECONDS)
    except subprocess.TimeoutExpired:
        return "", f"no answer within {SECONDS:g} s"
    return said.stdout, said.stderr


def audit(ask: Ask, locks: Sequence[str] = LOCKS) -> int:
    """Ask for each lock, and say what is known; pip-audit ends with 1 for a finding and for an outage alike."""
    worst = 0
    for lock in locks:
        reasons = []
        for database in DATABASES:
            found, complaint = ask(lock, database)
            try:
                packages = json.loads(found)["dependencies"]
            except (ValueError, KeyError, TypeError):
                reasons.append(f"{database}: {(complaint.strip().splitlines() or ['no answer'])[-1][:200]}")
                continue
            known = [(each, bad) for each in packages for bad in each.get("vulns", ())]
            print(f"{lock}: {len(packages)} packages asked of {database}, {len(known)} known vulnerabilities")
            for each, bad in known:
                mend = ", ".join(bad.get("fix_versions", ())) or "no version yet"
                print(f"  {each['name']} {each['version']}: {bad['id']}, mended in {mend}")
            worst = FOUND if known else worst
            break
        else:
            print(f"{lock}: NOT AUDITED, no database of vulnerabilities could be asked ({'; '.join(reasons)})")
            worst = worst or UNKNOWN
    return worst


if __name__ == "__main__":
    try:
        sys.exit(audit(ask))
    except Unavailable as reason:
        print(f"NOT AUDITED: {reason}")
        sys.exit(UNKNOWN)
