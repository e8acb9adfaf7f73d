"""A campaign told: in lines for a terminal, as a section of a page, as a JSON object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ... import __version__
from ...core.clock import utc_now
from .campaign import Outcome
from .checker import INVARIANTS
from .history import Step

HEAD = """# What campaigns of faults have found

Made by `make chaos`, and by nobody's hand: `bamboo doctor chaos --report FILE` writes a section for each kind of
database. A private system (server, JEDI, daemon, pilots) works on small tasks that clients submit without end.
Meanwhile a nemesis kills (SIGKILL), stops (SIGSTOP, then SIGCONT) and cuts off its parts, as a seed says. After the
last fault all is mended, and everything has to come to its end. Then a checker reads what clients and payloads had
noted on disk, and the database. [Doctor](doctor.md) says how to run one.

The matrices of crash points are another way to look: on a system that is left alone otherwise, each kind of process is
killed once before and once after each of its commits and sendings. `tests/flows/test_crash_points.py` writes them.
"""
#: The ends of submissions, in words.
ENDS = {
    Step.OK: "acknowledged",
    Step.UNKNOWN: "no answer, may have been taken in",
    Step.FAIL: "refused",
}


def row(outcome: Outcome) -> dict[str, Any]:
    """The outcome as a JSON object."""
    setting = outcome.setting
    return {
        "database": outcome.database,
        "seed": setting.seed,
        "kills": outcome.n_kills,
        "faults": {f"{deed}: {kind}": n for (deed, kind), n in sorted(outcome.done.items())},
        "storm_seconds": round(outcome.storm_seconds, 1),
        "rest_seconds": None if outcome.rest_seconds is None else round(outcome.rest_seconds, 1),
        "submissions": {str(step): n for step, n in outcome.submissions.items()},
        "tasks": outcome.n_tasks,
        "inputs_finished": outcome.n_inputs,
        "jobs": outcome.job_ends,
        "payloads_begun": outcome.n_runs,
        "payloads_ended": outcome.n_whole_runs,
        "violations": [{"invariant": one.invariant, "what": one.what} for one in outcome.violations],
        "folder": str(setting.folder),
    }


def lines(outcome: Outcome) -> Iterator[str]:
    """The outcome for people at a terminal."""
    yield _faults(outcome)
    yield ", ".join(f"{kind} {n}" for kind, n in sorted(_of_deed(outcome, "kill").items()))
    yield f"{outcome.n_tasks} tasks, {outcome.n_inputs} inputs processed; jobs: {_counted(outcome.job_ends)}"
    yield f"acknowledged {outcome.submissions[Step.OK]}, unknown {outcome.submissions[Step.UNKNOWN]}"
    yield f"at rest {_rest(outcome)}"
    for violation in outcome.violations:
        yield f"VIOLATION {violation}"
    yield f"{len(outcome.violations)} violations"


def write_section(outcome: Outcome, page: Path) -> None:
    """Put the outcome into a page, in the place of an older one on the same kind of database."""
    write_page(page, outcome.database, _section(outcome))


def write_page(page: Path, title: str, text: str) -> None:
    """Put a section into a page, in the place of an older one with the same title."""
    old = page.read_text() if page.exists() else ""
    sections = {text.partition("\n")[0]: text for text in old.split("\n## ")[1:]}
    sections[title] = f"{title}\n\n{text}"
    page.write_text(HEAD + "".join(f"\n## {text.strip()}\n" for _, text in sorted(sections.items())))


def _section(outcome: Outcome) -> str:
    setting = outcome.setting
    kills = _of_deed(outcome, "kill")
    others = sorted((deed, kind, n) for (deed, kind), n in outcome.done.items() if deed != "kill")
    by_invariant = Counter(violation.invariant for violation in outcome.violations)
    return "\n".join(
        [
            f"{utc_now():%Y-%m-%d}, version {__version__}, seed {setting.seed}: {_faults(outcome)}.",
            "",
            "| what was done | to what | how often |",
            "|---|---|---:|",
            *(f"| killed | {kind} | {n} |" for kind, n in sorted(kills.items(), key=lambda one: (-one[1], one[0]))),
            *(f"| {deed} | {kind} | {n} |" for deed, kind, n in others),
            "",
            "| what came of it | |",
            "|---|---|",
            *(f"| submissions: {told} | {outcome.submissions[step]} |" for step, told in ENDS.items()),
            f"| tasks, inputs processed | {outcome.n_tasks}, {outcome.n_inputs} |",
            f"| jobs | {_counted(outcome.job_ends)} |",
            f"| payloads begun, ended | {outcome.n_runs}, {outcome.n_whole_runs} |",
            f"| at rest | {_rest(outcome)} |",
            "",
            "| promise | violations |",
            "|---|---:|",
            *(f"| {number}: {words} | {by_invariant[number]} |" for number, words in INVARIANTS.items()),
        ]
    )


def _of_deed(outcome: Outcome, wanted: str) -> dict[str, int]:
    return {kind: n for (deed, kind), n in outcome.done.items() if deed == wanted}


def _faults(outcome: Outcome) -> str:
    n_others = outcome.done.total() - outcome.n_kills
    return f"{outcome.n_kills} kills and {n_others} other faults in {outcome.storm_seconds:.0f} s"


def _counted(numbers: dict[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(numbers.items())) or "none"


def _rest(outcome: Outcome) -> str:
    return "never" if outcome.rest_seconds is None else f"{outcome.rest_seconds:.0f} s after the last fault"
