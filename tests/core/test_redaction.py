"""What looks like a secret is taken out of texts and documents, and what does not stays."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.redaction import REMOVED, Redaction

CANARY = "canary-8c1d"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        f"export DB_PASSWORD={CANARY} && run",
        f"export DB_PASSWORD='{CANARY} with blanks'; run",
        f"run --token {CANARY} --verbose",
        f"run --api-key={CANARY}",
        f"run -password {CANARY}",
        f"mysql://alice:{CANARY}@db.example.org/x",
        f"curl 'https://x.org/f?access_token={CANARY}&n=1'",
        f"https://s3.org/f?X-Amz-Signature={CANARY}&X-Amz-Date=1",
        f"Authorization: Bearer {CANARY}",
        f"curl -u alice:{CANARY} https://x.org",
        f'{{"password": "{CANARY}"}}',
        f'"{{\\"secret\\": \\"{CANARY}\\"}}"',
        f"token = {CANARY}",
        f"auth={CANARY}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY} and it is cut off",
        f"ghp_{CANARY.replace('-', '')}0123456789",
    ],
)
@pytest.mark.parametrize("encodings", [0, 1, 2])
def test_secrets_go(text: str, encodings: int) -> None:
    for _ in range(encodings):
        text = quote(text)
    found = Redaction().text(text)
    assert "canary" not in found
    assert REMOVED in found


def test_tokens_go_wherever_they_stand() -> None:
    assert Redaction().text(f"it said {JWT}.") == f"it said {REMOVED}."
    assert Redaction().text("key AKIAIOSFODNN7EXAMPLE here") == f"key {REMOVED} here"


@pytest.mark.parametrize(
    "text",
    [
        "wc -l %IN > n.txt",
        "python3 author.py --passes 3 --sigma 0.1",
        "pilot 1305: payload ended with exit code 3: 100% of 5 files",
        "user.alice.1234_n.txt/",
        "file:///data/in.txt root://eos.cern.ch//eos/f",
        "the author compassed signals",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redaction().text(text) == text


def test_documents_lose_values_of_secret_names() -> None:
    given = {
        "userToken": CANARY,
        "nested": [{"api_key": {"a": CANARY}, "x": f"TOKEN={CANARY}"}],
        "useSecrets": True,
        "token": None,
        "n": 3,
    }
    assert Redaction().document(given) == {
        "userToken": REMOVED,
        "nested": [{"api_key": REMOVED, "x": f"TOKEN={REMOVED}"}],
        "useSecrets": True,
        "token": None,
        "n": 3,
    }


@pytest.mark.parametrize("secret", ["hunter2!x", "a b%c&d"])
def test_known_secrets_go_in_every_form(secret: str) -> None:
    redaction = Redaction([secret, "short"])
    for text in (f"echo {secret}", f"echo {quote(secret, safe='')}", quote(f"echo {quote(secret)}")):
        assert secret not in redaction.text(text)
        assert quote(secret, safe="") not in redaction.text(text)
    assert redaction.text("in short") == "in short"


@given(st.text())
def test_any_text_may_come(text: str) -> None:
    once = Redaction(["canary"]).text(text)
    assert "canary" not in once
