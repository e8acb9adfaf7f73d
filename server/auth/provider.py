"""The keys of an OpenID provider, fetched by its address and kept as the WLCG profile of JWTs says.

Keys are fetched anew every six hours, and used for up to four days when the provider does not answer. A token that
names a key which is not there has the keys fetched at once, but not more than once a minute, so that nobody can make
this server knock at the provider as often as they like. Fetching is done by one thread beside the requests: of those
only the one that needs a key which is not there waits for it, and not for long.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from joserfc.errors import JoseError

from ...core.addresses import is_confidential
from ...core.clock import Clock
from ...core.errors import BambooError, Fault, Invalid, Unavailable
from ...core.fetching import Limits, fetch_json
from .key_copy import KeyCopy
from .keys import VerificationKey, jwks_entries, verification_key

log = logging.getLogger(__name__)

REFRESH = timedelta(hours=6)
EXPIRE = timedelta(days=4)
#: Between two attempts, whatever asks for them.
RETRY = timedelta(minutes=1)
#: How long a request waits for keys that are being fetched.
WAIT_SECONDS = 5.0
LIMITS = Limits(connect_seconds=5, total_seconds=10, max_bytes=256 * 1024, redirects=False)
#: More keys of one provider are not kept.
MOST_KEYS = 100


@dataclass(frozen=True)
class Fetched:
    """Keys by their ids, and the moment when the provider was asked."""

    keys: Mapping[str, VerificationKey]
    at: datetime

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The keys as JWKs, with their public parts only."""
        return [{**key.jwk.as_dict(private=False), "kid": key.kid} for key in self.keys.values()]


class ProviderKeys:
    """A `KeySource` over one provider's discovery document or JWKS. Threads may share it."""

    def __init__(self, address: str, issuer: str, clock: Clock, *, copy: KeyCopy | None = None) -> None:
        """Asks nobody yet, so that a server starts without its provider. `copy` keeps the keys for later starts."""
        self.address = address
        self._issuer = issuer
        self._clock = clock
        self._copy = copy
        self._lock = threading.Lock()
        self._fetched: Fetched | None = None
        self._recalled = False
        self._tried_at: datetime | None = None
        self._running: threading.Event | None = None

    def find(self, kid: str) -> VerificationKey | None:
        """The key of that id, if the provider has it; raises `Unavailable` when its keys cannot be had."""
        now = self._clock()
        held = self._usable(now)
        if held is None or kid not in held.keys:
            done, ours = self._refresh(now)
            if done is not None and (ours or held is None):
                done.wait(WAIT_SECONDS)
            held = self._usable(now)
        elif not timedelta(0) <= now - held.at < REFRESH:
            self._refresh(now)
        if held is None:
            raise Unavailable(
                f"the keys of {self.address} cannot be had, so that no token can be verified",
                hint="try again in a minute; the server's log says why",
            )
        return held.keys.get(kid)

    def _usable(self, now: datetime) -> Fetched | None:
        with self._lock:
            if not self._recalled:
                self._recalled = True
                self._fetched = self._recall(now)
            held = self._fetched
        return held if held is not None and now - held.at <= EXPIRE else None

    def _recall(self, now: datetime) -> Fetched | None:
        """The keys of a run before, from the copy."""
        found = self._copy.read(self.address) if self._copy else None
        if found is None or found[0] > now:
            return None
        at, entries = found
        return Fetched(_usable_keys(entries, self.address), at)

    def _refresh(self, now: datetime) -> tuple[threading.Event | None, bool]:
        """Have the keys fetched, unless that was tried just now: what is set at its end, and whether we began it."""
        with self._lock:
            if self._running is not None:
                return self._running, False
            if self._tried_at is not None and timedelta(0) <= now - self._tried_at < RETRY:
                return None, False
            self._tried_at = now
            self._running = done = threading.Event()
        try:
            threading.Thread(target=self._run, args=(now, done), name="provider keys", daemon=True).start()
        except RuntimeError:  # no thread to be had now
            self._end(None, done)
        return done, True

    def _run(self, now: datetime, done: threading.Event) -> None:
        fetched = None
        try:
            fetched = self._fetch(now)
            extra = {"event": "keys_fetched", "address": self.address, "keys": ",".join(fetched.keys)}
            log.info("keys fetched", extra=extra)
        except BambooError as error:
            extra = {"event": "keys_not_fetched", "address": self.address, "problem": str(error)}
            log.error("keys of the provider cannot be fetched; those of before stay", extra=extra)
        except Exception:
            log.exception("fetching keys failed", extra={"event": "keys_not_fetched", "address": self.address})
        finally:
            self._end(fetched, done)
        if fetched is not None and self._copy is not None:
            self._copy.write(self.address, fetched.at, fetched.entries)

    def _end(self, fetched: Fetched | None, done: threading.Event) -> None:
        with self._lock:
            self._fetched = fetched or self._fetched
            self._running = None
        done.set()

    def _fetch(self, now: datetime) -> Fetched:
        document = fetch_json(self.address, LIMITS)
        if isinstance(document, dict) and "jwks_uri" in document:
            document = fetch_json(self._jwks_address(document), LIMITS)
        if not isinstance(document, dict) or "keys" not in document:
            fault = Fault("the document", "has neither `keys` nor `jwks_uri`", "check the address")
            raise Invalid(self.address, [fault])
        try:
            entries = jwks_entries(document)
        except ValueError as error:
            raise Invalid(self.address, [Fault("the keys", str(error), "tell the provider")]) from error
        if len(entries) > MOST_KEYS:
            raise Invalid(self.address, [Fault("the keys", f"there are more than {MOST_KEYS}", "tell the provider")])
        return Fetched(_usable_keys(entries, self.address), now)

    def _jwks_address(self, discovery: Mapping[str, Any]) -> str:
        """Where a discovery document says that the keys are (OpenID Connect Discovery 4.3)."""
        issuer, address = discovery.get("issuer"), discovery["jwks_uri"]
        if issuer != self._issuer:
            do = "give the provider's own words as [server] token_issuer"
            raise Invalid(self.address, [Fault("issuer", f"it is {issuer!r}, not {self._issuer!r}", do)])
        if not isinstance(address, str) or not _may_lead_to(self.address, address):
            raise Invalid(self.address, [Fault("jwks_uri", f"{address!r} is no https address", "tell the provider")])
        return address


def address_faults(address: str, where: str) -> list[Fault]:
    """What is wrong with the address of a provider's keys."""
    if is_confidential(address):
        return []
    do = "give an https:// address; http:// is for a provider on this machine"
    return [Fault(where, f"what {address} says can be changed on the way", do)]


def _may_lead_to(source: str, target: str) -> bool:
    """Whether a document may send us on: never from elsewhere to this machine's own ports."""
    return is_confidential(target) and (target.startswith("https://") or source.startswith("http://"))


def _usable_keys(entries: list[dict[str, Any]], address: str) -> dict[str, VerificationKey]:
    """Those keys that tokens may be signed with: providers have others too, for other uses."""
    keys = {}
    for entry in entries:
        try:
            key = verification_key(entry)
        except (ValueError, TypeError, KeyError, AttributeError, JoseError) as error:
            what = {"address": address, "kid": str(entry.get("kid")), "problem": str(error)}
            log.info("key left out", extra={"event": "key_left_out", **what})
            continue
        keys[key.kid] = key
    return keys
