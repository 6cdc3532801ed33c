"""Arguments of an execution: checked against the manifest, defaults filled in.

Checks before the entry runs, so that a wrong call names the parameter instead of failing inside
the plugin. Knows manifests only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from pytest_hotplug.reloader.errors import ParameterError, did_you_mean
from pytest_hotplug.reloader.manifest import Parameter

__all__ = ["check_declarations", "complete"]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_FITS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("a string", lambda v: isinstance(v, str)),
    "integer": ("an integer", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "number": ("a number", _is_number),
    "boolean": ("true or false", lambda v: isinstance(v, bool)),
    "array": ("a list", lambda v: isinstance(v, (list, tuple))),
    "object": ("an object", lambda v: isinstance(v, Mapping)),
    "any": ("anything", lambda v: True),
}
_SHORT = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}


def complete(
    plugin: str,
    given: Mapping[str, Any],
    declared: Mapping[str, Parameter],
    accepted: Collection[str] | None,
    required: Collection[str] = (),
) -> dict[str, Any]:
    """Return the arguments to call the entry of `plugin` with.

    `accepted` are the entry's own parameter names, None when it takes any (`**kwargs`), `required`
    those of them that it can't do without. Raises ParameterError for a missing, unknown or unfitting argument.
    """
    if accepted is not None:
        _reject_unknown(plugin, given, {*declared, *accepted})
    arguments = dict(given)
    for name, parameter in declared.items():
        if name in given:
            _check(plugin, name, given[name], parameter)
        elif parameter.default is not msgspec.UNSET:
            arguments[name] = _fresh(parameter.default)
        elif parameter.required:
            raise ParameterError(f"{plugin}: parameter {name!r} is required. [missing-parameter]")
    for name in sorted(required):
        if name not in arguments:
            raise ParameterError(f"{plugin}: the entry needs {name!r}. [missing-parameter]")
    return {k: v for k, v in arguments.items() if accepted is None or k in accepted or k in given}


def check_declarations(plugin: str, declared: Mapping[str, Parameter]) -> Iterator[str]:
    """Say of each parameter whose declaration contradicts itself what no call could satisfy."""
    for name, parameter in declared.items():
        if parameter.options == []:
            yield f"/parameters/{name}/options: an empty list leaves no value to choose"
        elif parameter.default is not msgspec.UNSET:
            try:
                _check(plugin, name, parameter.default, parameter)
            except ParameterError as error:
                yield f"/parameters/{name}/default: {str(error).partition(': ')[2].rpartition(' [')[0]}"


def _reject_unknown(plugin: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or f"; known: {', '.join(sorted(known)) or 'none'}"
            raise ParameterError(f"{plugin}: no parameter is named {name!r}{hint} [unknown-parameter]")


def _check(plugin: str, name: str, value: Any, parameter: Parameter) -> None:
    wanted, fits = _FITS[_SHORT.get(parameter.type, parameter.type)]
    if value is None and not parameter.required:
        return
    if not fits(value):
        got = type(value).__name__
        raise ParameterError(f"{plugin}: parameter {name!r} must be {wanted}, got {got} {value!r}. [bad-parameter]")
    if parameter.options is not None and value not in parameter.options:
        options = ", ".join(repr(option) for option in parameter.options)
        raise ParameterError(f"{plugin}: parameter {name!r} must be one of {options}, got {value!r}. [bad-parameter]")


def _fresh(default: Any) -> Any:
    """Copy a mutable default, so that no call can change the next one's."""
    if isinstance(default, dict):
        return {key: _fresh(value) for key, value in default.items()}
    return [_fresh(item) for item in default] if isinstance(default, list) else default
