"""The registry of pilots' errors: each code once, with a verdict, as the page of the docs prints it."""

from __future__ import annotations

from pathlib import Path

import bamboo
from bamboo.core.job_errors import JOB_ERRORS, meaning_of, most_telling, who_must_act
from bamboo.core.pilot_errors import ACTORS, PILOT_ERRORS
from bamboo.pilot.errors import Code

PAGE = (Path(bamboo.__file__).parent / "docs" / "error_codes.md").read_text()


def test_each_code_is_there_once_with_somebody_to_act() -> None:
    codes = [error.code for error in PILOT_ERRORS]
    assert codes == sorted(set(codes))
    assert {error.who for error in (*PILOT_ERRORS, *JOB_ERRORS)} == set(ACTORS)
    assert [error.code for error in PILOT_ERRORS if not error.meaning or "|" in error.meaning] == []


def test_the_page_has_the_registry() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| 1")]
    assert rows == [f"| {error.code} | `{error.name}` | {error.meaning} | {error.who} |" for error in PILOT_ERRORS]


def test_what_our_own_pilot_reports_is_in_it() -> None:
    assert [code for code in Code if who_must_act("pilot", code) is None] == []


def test_of_one_failure_the_most_telling_error_is_told() -> None:
    stopped, failed = ("pilot", 1201, "TERM"), ("pilot", 1305, "exit code 143")
    code, bare, said = ("trans", 143, ""), ("exe", 143, ""), ("exe", 65, "no licence")
    assert most_telling([bare, stopped, code]) == stopped
    assert most_telling([code, failed]) == most_telling([bare, failed]) == failed
    assert most_telling([failed, said, code]) == said
    assert most_telling([said, ("ddm", 200, ""), code]) == ("ddm", 200, "")
    assert (most_telling([code]), most_telling([])) == (code, None)


def test_exit_codes_of_transforms_say_what_happened() -> None:
    assert "bad archive" in meaning_of("trans", 143) and "could not be downloaded" in meaning_of("exe", 146)
    assert "exit code 146 of a transform: the sandbox could not be downloaded" in meaning_of("pilot", 1305, 146)
    assert meaning_of("trans", 7) == "the payload's own exit code"
    assert meaning_of("pilot", 1305, 7) == "the payload ended with an error"
    assert "sandbox" not in meaning_of("pilot", 1201, 143)


def test_sources_have_codes_of_their_own() -> None:
    assert (who_must_act("pilot", 1305), who_must_act("exe", 7), who_must_act("trans", 1)) == ("user",) * 3
    assert (who_must_act("ddm", 200), who_must_act("task_buffer", 100)) == ("user", "nobody")
    assert (who_must_act("pilot", 100), who_must_act("ddm", 1305), meaning_of("pilot", 7)) == (None, None, "")
