"""Which addresses are this machine's own, and over which ones secrets and keys may travel."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str | None) -> bool:
    """Whether an address, as numbers, is this machine's own for itself; names are not looked up."""
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_confidential(url: str) -> bool:
    """Whether nobody on the way can read or change what goes to a URL: https, or http that stays on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "http":
        return host == "localhost" or is_loopback(host)
    return parts.scheme == "https" and bool(host)
