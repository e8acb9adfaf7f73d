"""Remembers who showed which token, so that a signature is verified once and not at each of a pilot's requests.

What can change is asked anew each time: whether the key is still trusted, and whether the token has expired.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from threading import Lock
from typing import Any

from .caller import Caller
from .keys import KeySource, VerificationKey
from .tokens import check_times

#: Tokens that one process remembers; those that were not shown for longest are forgotten first.
MOST = 10_000


@dataclass(frozen=True)
class Proof:
    """What was proven of a token: the key that signed it, where that is from, its claims, and whom they make."""

    keys: KeySource
    key: VerificationKey
    claims: Mapping[str, Any]
    caller: Caller


class Memory:
    """Proofs by token and origin. Tokens themselves are not kept, only their hashes."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._proofs: OrderedDict[bytes, Proof] = OrderedDict()
        self._lock = Lock()

    def find(self, token: str, origin: str, now: datetime) -> Caller | None:
        """The caller that this token made before; None when it has to be verified (again).

        Raises `NotProven` for a token that has expired since.
        """
        name = _name(token, origin)
        with self._lock:
            proof = self._proofs.get(name)
            if proof is None:
                return None
            self._proofs.move_to_end(name)
        if proof.keys.find(proof.key.kid) is not proof.key:  # taken away, or the files were read anew
            return None
        check_times(proof.claims, now)
        return proof.caller

    def keep(self, token: str, origin: str, proof: Proof) -> None:
        """Remember what was proven of a token."""
        with self._lock:
            self._proofs[_name(token, origin)] = proof
            if len(self._proofs) > self._most:
                self._proofs.popitem(last=False)


def _name(token: str, origin: str) -> bytes:
    return sha256(f"{origin}\n{token}".encode(errors="surrogateescape")).digest()
