"""What the demo answers, before and after an edit."""


def test_the_answer_has_every_part(hotplug):
    """R20: the demo tells what it made, from what, and in which version."""
    demo = hotplug.load()
    version = demo.module("main").VERSION
    answer = demo.execute(message="hi", count=2, unknown="ignored")
    assert answer["status"] == "success"
    assert answer["operation"] == "hot_reload_demo"
    assert answer["plugin_info"]["version"] == answer["version"] == version
    result = answer["result"]
    assert (result["input_message"], result["input_count"], result["total_messages"]) == ("hi", 2, 2)
    assert all(f"[v{version}] hi #{n}" in text for n, text in enumerate(result["generated_messages"], 1))
    assert result["processing_time"] >= 0


def test_defaults_come_from_the_manifest(hotplug):
    """Without arguments the demo greets once."""
    result = hotplug.load().execute()["result"]
    assert (result["input_message"], result["input_count"]) == ("Hello from hot reload demo!", 1)


def test_an_edit_is_served_at_the_next_execution(hotplug):
    """Edit VERSION, execute again: the new version answers, nothing was restarted."""
    demo = hotplug.load()
    version = demo.execute()["version"]
    demo.edit("main.py", f'"{version}"', '"9.9"')
    assert demo.execute()["version"] == "9.9"
    assert hotplug.events[-1].kind == "loaded"
