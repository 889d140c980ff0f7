"""What people write in the place of a public key."""

from __future__ import annotations

import re

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|PuTTY-User-Key-File-")
_PATH = re.compile(r"(?:~|\.{0,2}/|file:)\S*\Z|\S+\.pub\Z")


def mistaken(text: str) -> str | None:
    """Return why *text* is no public key but something else that people write there; None where it may be a key.

    The text itself is never shown: whatever is wrong with it, it may be the owner's only copy of a private key.
    """
    if not text.strip() or "\0" in text:
        return "expected a public key, got none"
    if _PRIVATE_KEY.search(text):
        what = "expected a public key, got a private one: write what its .pub file has"
        return f"{what}, and replace the pair, which others may have read"
    if _PATH.match(text.strip()):
        return "expected the key itself, got the path of a file: write the line that the file has"
    return None
