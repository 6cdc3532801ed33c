"""What a handed-over state must look like."""


def checked(count: int, from_version: str) -> int:
    """Return the count; raises ValueError when it cannot be right."""
    if count < 0:
        raise ValueError(f"version {from_version} handed over a negative count")
    return count
