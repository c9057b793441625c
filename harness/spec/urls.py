"""Addresses of endpoints."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from harness.errors import UsageError


def checked_url(url: str) -> str:
    """The address up to ``/v1`` that ``url`` means; UsageError when it is no plain http address."""
    right = "give it as http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as problem:
        raise UsageError(f"{url!r} is no address ({problem}); {right}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(f"{url!r} is no http address; {right}")
    if parts.username is not None or parts.password is not None:
        # The address is recorded and printed; what stands before the @ must not be.
        raise UsageError(f"the address holds a user name or password; keys come from the environment; {right}")
    if parts.query or parts.fragment:
        raise UsageError(f"{url!r} ends in a query or fragment; {right}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def is_loopback(url: str) -> bool:
    """Whether ``url`` stays on this machine. Names other than ``localhost`` are not looked up."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
