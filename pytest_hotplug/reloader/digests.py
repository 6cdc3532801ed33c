"""Hash bytes, and trees of files by the hashes of each: to detect change, not to sign anything."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

__all__ = ["Algorithm", "algorithm_in_use", "algorithm_of", "digest_of", "hash_of"]

Algorithm = Literal["md5", "blake2b"]
_BLAKE2B_BYTES = 20  # 40 hex digits, so that a digest tells its algorithm


def hash_of(data: bytes, algorithm: Algorithm = "md5") -> str:
    """Return the hex digest of `data`: it detects change and is no signature.

    Where even an MD5 that is "not for security" is refused (FIPS mode), BLAKE2b takes its place.
    """
    if algorithm == "md5":
        try:
            return hashlib.md5(data, usedforsecurity=False).hexdigest()
        except ValueError:
            return hashlib.blake2b(data, digest_size=16).hexdigest()
    return hashlib.blake2b(data, digest_size=_BLAKE2B_BYTES).hexdigest()


def algorithm_in_use(wanted: Algorithm) -> Algorithm:
    """Return what really computes digests here."""
    try:
        hashlib.md5(b"", usedforsecurity=False)
    except ValueError:
        return "blake2b"
    return wanted


def algorithm_of(digest: str) -> Algorithm:
    """Return the algorithm that a digest was made with."""
    return "blake2b" if len(digest) == 2 * _BLAKE2B_BYTES else "md5"


def digest_of(files: Mapping[str, bytes], md5: Mapping[str, str], algorithm: Algorithm = "md5") -> str:
    """Return one digest over relative names, lengths and hashes of the counted files."""
    lines = (f"{name}\0{len(files[name])}\0{md5[name]}\n" for name in sorted(md5))
    return hash_of("".join(lines).encode("utf-8", "surrogateescape"), algorithm)
