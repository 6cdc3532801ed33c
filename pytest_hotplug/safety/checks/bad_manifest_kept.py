"""A version with a broken manifest never serves."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pytest_hotplug.safety.broken import refused
from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import NotTried, Stage

__all__ = ["CHECK"]

_LARGE = 256 * 1024  # bytes that a manifest may have


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    name = next((name for name in stage.layout.manifest if name in stage.files.original), None)
    if name is None:
        raise NotTried("it has no manifest")
    for what, content in _broken(stage.files.original[name], stage.layout.manifest_keys.get("version", "version")):
        yield refused(stage, f"a manifest {what}", {name: content})


def _broken(manifest: bytes, version: str) -> Iterator[tuple[str, bytes]]:
    text = manifest.decode("utf-8-sig").strip()
    inside = text.removeprefix("{").removesuffix("}").strip()
    yield "cut in half", manifest[: len(manifest) // 2]
    yield "that is empty", b""
    yield "that is a list", b"[]"
    yield "in UTF-16", text.encode("utf-16")
    yield "with a byte order mark", b"\xef\xbb\xbf" + manifest
    yield "that is too large", manifest + b" " * _LARGE
    for what, more in {
        "with a name twice": '"name": "twice", "name": "twice"',
        "nested too deeply": f'"hotplug-deep": {"[" * 1000}{"]" * 1000}',
        "with a number that is none": '"hotplug-number": NaN',
        "with a number beyond all bounds": f'"hotplug-number": {"9" * 5000}',
        "with half a character": '"hotplug-text": "\\ud800"',
    }.items():
        yield what, f"{{{inside}{', ' if inside else ''}{more}}}".encode()
    yield "with a version that is no text", _with_version(text, version)


def _with_version(text: str, version: str) -> bytes:
    manifest = msgspec.json.decode(text)
    manifest[version] = ["no", "text"]
    return msgspec.json.encode(manifest)


CHECK = Check(
    id="bad_manifest_kept",
    title="A version with a broken manifest never serves",
    how=(
        "The manifest is cut in half, emptied, made a list, encoded otherwise, made too large, nested too "
        "deeply, and gets a name twice, numbers that are none or beyond all bounds, half a character, and a "
        "version that is no text."
    ),
    remedy="Let calls need nothing of the manifest on disk (context has what it says), and let the plugin write none.",
    scenario="edits",
    attempt=_attempt,
    judge=attempted,
)
