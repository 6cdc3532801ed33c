"""The last touch."""


def polish(text: str) -> str:
    """End a sentence with a sign."""
    return text if text.endswith(("!", ".", "?")) else f"{text}!"
