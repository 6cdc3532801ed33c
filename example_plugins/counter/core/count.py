"""A sum that several threads may add to."""

import threading


class Count:
    """Adds under a lock."""

    def __init__(self, value: int = 0) -> None:
        self._lock = threading.Lock()
        self.value = value

    def add(self, amount: int) -> int:
        """Add and return the sum."""
        with self._lock:
            self.value += amount
            return self.value
