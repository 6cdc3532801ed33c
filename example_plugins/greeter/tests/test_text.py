"""Greetings, and what an edit of text or catalogue changes."""

import pytest

from pytest_hotplug import ParameterError


@pytest.mark.parametrize(("language", "expected"), [("en", "Hello Ada!"), ("de", "Hallo Ada!"), ("fr", "Bonjour Ada!")])
def test_it_greets_in_every_language(hotplug, language, expected):
    """The catalogue's phrase is used, polished."""
    assert hotplug.load().execute(name="Ada", language=language)["greeting"] == expected


def test_an_edit_of_the_catalogue_alone_is_served(hotplug):
    """A .json file counts as code does."""
    greeter = hotplug.load()
    greeter.edit("catalogue.json", "Hello", "Good evening")
    assert greeter.execute(name="Ada")["greeting"] == "Good evening Ada!"


def test_an_edit_of_a_lazily_imported_module_is_served(hotplug):
    """polish.py is imported from inside a function; its edit is served all the same."""
    greeter = hotplug.load()
    greeter.execute(name="Ada")
    greeter.edit("polish.py", 'f"{text}!"', 'f"{text}, welcome."')
    assert greeter.execute(name="Ada")["greeting"] == "Hello Ada, welcome."


def test_an_unknown_language_is_refused_before_the_plugin_runs(hotplug):
    """The manifest's options are checked."""
    with pytest.raises(ParameterError, match="must be one of"):
        hotplug.load().execute(name="Ada", language="xx")
