"""Any command arrives as it was written, and any name stays one name, under both pilots' quoting."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bamboo.server.transforms.inputs import fill_in
from bamboo.server.transforms.toolbox import Options, TransformError, read_literal
from bamboo.tests.transforms.job_directory import QUOTINGS, JobDirectory

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True)


@pytest.mark.parametrize("quoting", QUOTINGS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example('it\'s "$HOME" `id` $(id); exit 3 | cat # %IN \\ \t\n -p é')
@given(WORDS)
def test_a_command_arrives_as_it_was_written(quoting: str, tmp_path: Path, words: str) -> None:
    job_dir = JobDirectory(tmp_path, QUOTINGS[quoting])
    command = f"printf %s {shlex.quote(words)} > out; [ -z x$PATH ] || true"
    code, said = job_dir.run(
        "runGen-00-00-02", f'-j "" -r . -o "{{\'out\': \'user.x.out\'}}" -p "{quote(command)}" --sourceURL http://x'
    )
    assert code == 0, said
    assert (tmp_path / "user.x.out").read_bytes() == words.encode()


@given(st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=4), WORDS)
def test_streams_are_filled_in(streams: dict[str, list[str]], around: str) -> None:
    plain = around.replace("%", "")
    for name, files in streams.items():
        assert fill_in(f"{plain} %{{{name}}}{plain}", streams) == f"{plain} {','.join(files)}{plain}"
        if re.fullmatch(r"\w+", name):
            assert fill_in(f"%{name} {plain}", streams) == f"{','.join(files)} {plain}"


@given(WORDS)
def test_what_is_no_stream_stays(words: str) -> None:
    assert fill_in(words, {}) == words
    if "%" not in words:
        assert fill_in(words, {"IN": ["a"]}) == words


@given(WORDS)
def test_a_filled_in_name_is_one_word_to_a_shell(name: str) -> None:
    try:
        filled = fill_in("%IN", {"IN": [name]})
    except TransformError:
        return
    assert "/" in name or not name or shlex.split(filled) == [name]


@given(st.one_of(st.lists(WORDS), st.dictionaries(WORDS, WORDS)))
def test_literals_come_back(value: object) -> None:
    faults: list[str] = []
    assert read_literal("-x", repr(value), type(value), faults) == value
    assert faults == []


@given(WORDS)
def test_literals_never_run(words: str) -> None:
    faults: list[str] = []
    value = read_literal("-x", words, dict, faults)
    assert isinstance(value, dict)
    if not faults and words.strip():
        assert ast.literal_eval(words.strip()) == value


@given(st.lists(st.tuples(st.sampled_from(["-p", "-j", "--inMap"]), WORDS)), st.booleans())
def test_option_values_may_be_anything(pairs: list[tuple[str, str]], flag: bool) -> None:
    options = Options("x", "x")
    for name in ("-p", "-j", "--inMap"):
        options.add_argument(name, dest=name.lstrip("-"), default="")
    options.accept("--flag", action="store_true")
    read, others = options.read_some([*(word for pair in pairs for word in pair), *(["--flag"] if flag else [])])
    assert others == []
    assert read.flag == flag
    for name in ("-p", "-j", "--inMap"):
        assert getattr(read, name.lstrip("-")) == next((value for key, value in reversed(pairs) if key == name), "")
