"""The pipeline, and the plugin that it uses."""


def test_it_greets_every_name(hotplug):
    """Names are tidied, then greeted by the greeter."""
    pipeline = hotplug.load()
    assert pipeline.execute(names=["ada  lovelace", "alan turing"])["greetings"] == [
        "Hello Ada Lovelace",
        "Hello Alan Turing",
    ]


def test_an_edit_of_the_greeter_reaches_the_pipeline(hotplug):
    """When a dependency changes, its dependents reload in the same transaction."""
    pipeline, greeter = hotplug.load(), hotplug.load("greeter")
    greeter.edit("catalogue.json", "Hello", "Welcome")
    assert pipeline.execute()["greetings"] == ["Welcome Ada Lovelace"]


def test_a_greeter_that_breaks_the_pipeline_is_refused(hotplug):
    """All or none: both keep serving their old versions."""
    pipeline, greeter = hotplug.load(), hotplug.load("greeter")
    greeter.edit("text.py", "def greeting", "def salute")
    greeter.edit("__init__.py", "greeting", "salute")
    greeter.edit("main.py", "greeting", "salute")
    outcome = greeter.reload()
    assert "pipeline" in outcome.reason
    assert pipeline.execute()["greetings"] == ["Hello Ada Lovelace"]
    assert greeter.execute(name="Ada")["greeting"] == "Hello Ada!"
