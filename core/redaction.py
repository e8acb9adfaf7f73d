"""What looks like a secret, taken out of texts and documents that are given to others.

Nobody can know every secret by its looks. What is known goes wherever it occurs; beside that go values of names such as
`DB_PASSWORD` or `--token`, what stands before the `@` of an address, bearer tokens, JWTs, private keys and keys of
well-known services, also where they are percent-encoded, as in the command lines of jobs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote, unquote

REMOVED = "(removed)"
#: A known secret that is shorter than this occurs by accident.
MIN_KNOWN_CHARACTERS = 6
#: Command lines of jobs are encoded once, those in parameters of tasks within others twice.
DECODINGS = 3

#: Words in the names of secrets.
_TELLING = (
    r"(?:pass(?:word|wd|phrase|code)|passw?d?(?![a-z])|pwd|secret|token|credential|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|auth(?:orization)?(?![a-z])|cookie|signature|sig(?![a-z])|session[_-]?id|bearer)"
)
_TELLS = re.compile(_TELLING, re.IGNORECASE)
_VALUE = r"""(?:\\?"[^"]*"|\\?'[^']*'|[^\s"'&;,|)}\]]+)"""
#: What goes, and what stays of it. Repetitions have bounds, so that no text takes long.
_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), kept)
    for pattern, kept in (
        (r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", REMOVED),
        (r"\beyJ[\w-]{8,4000}\.[\w-]{1,4000}\.?[\w-]*", REMOVED),
        (r"\b([a-z][a-z0-9+.-]{0,30}://)[^/\s'\"]+@", rf"\1{REMOVED}@"),
        (r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", rf"\1 {REMOVED}"),
        (rf"(?<![\w-])(--?[\w-]{{0,64}}{_TELLING}[\w-]{{0,64}})(\s+|\s*=\s*)(?!-){_VALUE}", rf"\1\2{REMOVED}"),
        (rf"""({_TELLING}[\w.-]{{0,64}}\\?["']?\s*(?:=>?|:)\s*)(?!\(removed\)){_VALUE}""", rf"\1{REMOVED}"),
        (r"(?<![\w-])(-u|--user|--proxy-user)(\s+|=)(['\"]?[^\s:'\"]+):[^\s'\"]+", rf"\1\2\3:{REMOVED}"),
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", REMOVED),
        (r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abpr]-|hf_|sk-)[\w-]{16,}", REMOVED),
    )
)
_ENCODED = re.compile(r"%[0-9A-F]{2}", re.IGNORECASE)


class Redaction:
    """Takes out what looks like a secret, and the `known` ones wherever they are."""

    def __init__(self, known: Collection[str] = ()) -> None:
        forms = {form for one in known if len(one) >= MIN_KNOWN_CHARACTERS for form in (one, quote(one, safe=""))}
        self._known = sorted(forms, key=len, reverse=True)

    def text(self, text: str) -> str:
        """A text without secrets; it is told decoded where only that brings one to light."""
        found = self._plain(text)
        for _ in range(DECODINGS):
            if not _ENCODED.search(text):
                break
            text = unquote(text)
            if (decoded := self._plain(text)) != text:
                found = decoded
        return found

    def _plain(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, REMOVED)
        for pattern, kept in _PATTERNS:
            text = pattern.sub(kept, text)
        return text

    def document(self, value: Any) -> Any:
        """A document of mappings, lists and texts without secrets: values of names that tell of one go whole."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(key) if isinstance(key, str) else key: self._named(key, one) for key, one in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.document(one) for one in value]
        return value

    def _named(self, name: object, value: Any) -> Any:
        if value and not isinstance(value, bool) and _TELLS.search(str(name)):
            return REMOVED
        return self.document(value)
