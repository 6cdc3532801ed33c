"""Shows that an edit is served without restarting the worker: change VERSION and execute again."""

import time
from datetime import UTC, datetime
from typing import Any

VERSION = "1.0"


def demo_function(message: str = "Hello from hot reload demo!", count: int = 1, **ignored: Any) -> dict[str, Any]:
    """Repeat a message; parameters that it doesn't know are ignored."""
    started = time.perf_counter()
    messages = [f"[v{VERSION}] {message} #{number}" for number in range(1, count + 1)]
    return {
        "status": "success",
        "operation": "hot_reload_demo",
        "version": VERSION,
        "plugin_info": {
            "name": "hot_reload_demo",
            "version": VERSION,
            "description": "Shows that an edit is served without restarting the worker",
        },
        "result": {
            "input_message": message,
            "input_count": count,
            "generated_messages": messages,
            "total_messages": len(messages),
            "processing_time": time.perf_counter() - started,
        },
        "timestamp": datetime.now(UTC).isoformat(),
    }
