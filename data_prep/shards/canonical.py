"""JSON with one spelling: the same content always gives the same bytes, and any changed byte is noticed.

Keys are sorted, text is ASCII with escapes, numbers must be finite. A *sealed* document also carries the SHA-256 of
its own content, so that a file which nothing else vouches for (the manifest) vouches for itself.
"""

import hashlib
import json
from typing import Any

SEAL = "sha256"


def encode(content: Any) -> bytes:
    """Compact bytes of `content` (dicts with string keys, lists, strings, finite numbers, booleans, None)."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest(data: bytes | memoryview) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def encode_sealed(content: dict[str, Any]) -> bytes:
    """Readable bytes of `content` with its own digest under `sha256`."""
    sealed = {**content, SEAL: digest(encode(content))}
    return json.dumps(sealed, sort_keys=True, indent=1, allow_nan=False).encode("ascii") + b"\n"


def decode_sealed(data: bytes) -> dict[str, Any]:
    """The content of `encode_sealed`'s bytes without its digest; ValueError if a single byte differs from them."""
    content = decode(data)
    if not isinstance(content, dict) or SEAL not in content:
        raise ValueError(f"no {SEAL!r} of its own content")
    del content[SEAL]
    if encode_sealed(content) != data:
        raise ValueError("its content does not match its own digest")
    return content


def decode(data: bytes) -> Any:
    """Parsed JSON; ValueError for anything that is not JSON."""
    try:
        return json.loads(data.decode("ascii"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
