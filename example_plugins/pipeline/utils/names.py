"""Names as people write them."""


def tidy(name: str) -> str:
    """Strip, and capitalise every part."""
    return " ".join(part.capitalize() for part in name.split())
