"""Configuration files of every kind of nonsense: each is loaded, or refused with all that is wrong with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fuzzing import damaged, examples, mistyped
from hypothesis import given
from hypothesis import strategies as st

import bamboo.configs
from bamboo.core.errors import BadSettings
from bamboo.core.settings import ENV_PREFIX, Settings, load
from bamboo.tests.core.test_settings import PANDA_JEDI, PANDA_SERVER

SHIPPED = [path.read_text() for path in Path(str(bamboo.configs.__file__)).parent.glob("*.cfg")]
SOURCES = [*SHIPPED, PANDA_SERVER, PANDA_JEDI]
#: What cfg files are made of, and what values are mistaken for.
WORDS = [
    *("\n", "[", "]", "=", ":", "%", "%(x)s", "#", ";", "    ", "{", "}", '"', "\0", "\r", "\ufeff", "True", "None"),
    *("0", "-1", "1e999", "nan", "9" * 400, "[server]", "[DEFAULT]", "[common]", "[]", "{}", "::", "a:b:c", "é"),
]
NAMES = st.sampled_from([f"{name}__{key}" for name in Settings.model_fields for key in ("config", "port", "url", "x")])
VALUES = st.sampled_from(["", "\0", "{", "[]", "9" * 400, "-1", "nan", "1e999", "a:b:c"]) | st.text(max_size=8)


def loads_or_says_why(content: bytes, environ: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bamboo.cfg")
        path.write_bytes(content)
        try:
            load([path], environ)
        except BadSettings as error:
            assert error.faults
            for fault in error.faults:
                assert fault.where and fault.what, fault
                assert "\n" not in str(fault), fault


@examples(200)
@given(text=mistyped(SOURCES, WORDS) | st.text(max_size=300), environ=st.dictionaries(NAMES, VALUES, max_size=2))
def test_no_text_is_a_traceback(text: str, environ: dict[str, str]) -> None:
    named = {ENV_PREFIX + name.upper(): value for name, value in environ.items()}
    loads_or_says_why(text.encode("utf-8", "surrogatepass"), named)


@examples(60)
@given(content=damaged([text.encode() for text in SOURCES]) | st.binary(max_size=200))
def test_no_bytes_are_a_traceback(content: bytes) -> None:
    loads_or_says_why(content, {})
