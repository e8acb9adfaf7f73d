"""Small parts of the pilot: job definitions, paths, waiting times, checksums, quoting."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bamboo.pilot
from bamboo.core.backoff import Backoff
from bamboo.core.checksums import adler32, md5
from bamboo.pilot.build import CORE_MODULES
from bamboo.pilot.errors import Code, PilotError
from bamboo.pilot.job_control import poll_pause
from bamboo.pilot.job_spec import JobSpec, number, pieces, text
from bamboo.pilot.limits import IdleWatch
from bamboo.pilot.metrics import MIN_LOOKS, Trend
from bamboo.pilot.payload_command import literal
from bamboo.pilot.queue_data import rucio_path
from bamboo.pilot.transport import Answer

PACKAGE = Path(bamboo.pilot.__file__).parent


@given(st.integers(0, 200), st.floats(0, 0.999))
def test_backoff_stays_between_zero_and_the_cap(tries: int, luck: float) -> None:
    backoff = Backoff(0.5, 20.0, rng=lambda: luck)
    waits = [backoff.next_seconds() for _ in range(tries)]
    assert all(0 <= wait <= 20 for wait in waits)
    assert waits == sorted(waits)
    backoff.reset()
    assert backoff.next_seconds() == 0.5 * luck


def test_backoff_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="base"):
        Backoff(2.0, 1.0)


@given(st.binary(max_size=1000))
def test_checksums(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("sums") / "file"
    path.write_bytes(content)
    assert adler32(path) == f"{zlib.adler32(content):08x}"
    assert md5(path) == hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("value", "expected"), [("NULL", 0), ("", 0), (None, 0), ("12", 12), (3.9, 3), ("x", 0), ("inf", 0)]
)
def test_numbers_of_the_wire(value: object, expected: int) -> None:
    assert number(value) == expected


def test_texts_of_the_wire() -> None:
    assert [text(value) for value in ("NULL", " x ", None, 5)] == ["", "x", "", "5"]
    assert pieces("a,NULL,,b") == ["a", "", "", "b"]
    assert pieces("NULL") == []


def test_scopes_of_outputs_do_not_count_the_log() -> None:
    for scopes in ("s1,s2", "s1,log,s2"):
        spec = JobSpec.parse(
            {"outFiles": "a,log.tgz,b", "logFile": "log.tgz", "scopeOut": scopes, "ddmEndPointOut": "A,L,B"}
        )
        assert [(file.lfn, file.scope, file.endpoint) for file in spec.outputs] == [("a", "s1", "A"), ("b", "s2", "B")]
        assert spec.log is not None
        assert spec.log.endpoint == "L"


def test_contradicting_lists_are_refused() -> None:
    with pytest.raises(PilotError) as caught:
        JobSpec.parse({"outFiles": "a,b", "scopeOut": "s"})
    assert caught.value.code is Code.LISTS_DIFFER_IN_LENGTH


def test_rucio_path() -> None:
    digest = hashlib.md5(b"user.x:f", usedforsecurity=False).hexdigest()
    assert rucio_path("user.x", "f") == f"user/x/{digest[:2]}/{digest[2:4]}/f"


@pytest.mark.parametrize(
    ("parameters", "printed"),
    [
        ("-p '$HOME; ls | wc' x", "-p|$HOME; ls | wc|x|"),
        ("a; echo b", "a|b\n"),
        ('-x "it\'s"', "-x|it's|"),
        ("-c unclosed'", "bash"),
    ],
)
def test_parameters_with_options_are_literal(parameters: str, printed: str) -> None:
    command = f"printf '%s|' {literal(parameters)}"
    done = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True)
    assert printed in done.stdout + done.stderr


def test_idleness_counts_from_the_last_sign_of_life() -> None:
    watch = IdleWatch(100, since=0.0)
    assert watch.note(50, newest_change=1.0, cpu_seconds=0.0) is None
    assert watch.note(149, 1.0, 0.0) is None
    assert watch.note(149.5, 1.0, 5.0) is None  # it computes
    assert watch.note(249, 1.0, 5.1) is None
    trouble = watch.note(250, 1.0, 5.1)
    assert trouble is not None
    assert trouble.code is Code.LOOPING


def test_old_interpreters_are_enough() -> None:
    paths = [PACKAGE, *(PACKAGE.parent / "core" / name for name in CORE_MODULES)]
    vermin = [
        str(Path(sys.executable).with_name("vermin")),
        "--no-tips",
        "-t=3.9-",
        "--violations",
        *map(str, paths),
    ]
    done = subprocess.run(vermin, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_error_code_is_explained() -> None:
    page = (PACKAGE.parent / "docs" / "pilot.md").read_text()
    explained = {int(code) for code in re.findall(r"^\| (1\d{3}) \|", page, re.M)}
    assert explained == {int(code) for code in Code}


@pytest.mark.parametrize(
    ("longest", "n_empty", "pause"),
    [(None, 1000, 0.3), (1.2, 0, 0.3), (1.2, 30, 0.3), (1.2, 31, 0.45), (1.2, 10**9, 1.2), (0.1, 1000, 0.3)],
)
def test_pauses_grow_only_where_they_may_and_never_beyond(longest: float | None, n_empty: int, pause: float) -> None:
    assert poll_pause(0.3, longest, n_empty) == pytest.approx(pause)


def seen(values: list[tuple[float, float]]) -> Trend:
    trend = Trend()
    for seconds, value in values:
        trend.note(seconds, value)
    return trend


@given(st.floats(0, 10**6), st.floats(-100, 100), st.floats(0, 10**6))
def test_a_straight_line_has_its_slope(began: float, slope: float, start: float) -> None:
    line = [(began + 2 * n, start + slope * 2 * n) for n in range(20)]
    assert seen(line).slope() == pytest.approx(slope, abs=1e-3)


def test_few_looks_or_one_moment_show_no_trend() -> None:
    assert seen([(n, n) for n in range(MIN_LOOKS - 1)]).slope() is None
    assert seen([(5.0, n) for n in range(MIN_LOOKS)]).slope() is None
    # 10 and 20 kB by turns, 8 kB more each time: the turns hardly tilt the line
    assert seen([(n, 8 * n + 10 * (1 + n % 2)) for n in range(100)]).slope() == pytest.approx(8, abs=0.01)


@pytest.mark.parametrize(("said", "seconds"), [("30", 30.0), (" 5 ", 5.0), ("²", 0.0), ("9" * 400, 0.0), ("soon", 0.0)])
def test_what_cannot_be_a_time_to_wait_is_none(said: str, seconds: float) -> None:
    assert Answer(503, {"retry-after": said}, b"").retry_after == seconds
