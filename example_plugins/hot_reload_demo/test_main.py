"""What the demo answers, before and after an edit."""


def test_the_answer_has_every_part(hotplug):
    """R20: the demo tells what it made, from what, and in which version."""
    answer = hotplug.load().execute(message="hi", count=2, unknown="ignored")
    assert answer["status"] == "success"
    assert answer["operation"] == "hot_reload_demo"
    assert answer["plugin_info"]["version"] == answer["version"] == "1.0"
    result = answer["result"]
    assert (result["input_message"], result["input_count"], result["total_messages"]) == ("hi", 2, 2)
    assert result["generated_messages"] == ["[v1.0] hi #1", "[v1.0] hi #2"]
    assert result["processing_time"] >= 0
    assert "update_note" not in result


def test_defaults_come_from_the_manifest(hotplug):
    """Without arguments the demo greets once."""
    result = hotplug.load().execute()["result"]
    assert (result["input_message"], result["input_count"]) == ("Hello from hot reload demo!", 1)


def test_an_edit_is_served_at_the_next_execution(hotplug):
    """Edit VERSION, execute again: the new version answers, nothing was restarted."""
    demo = hotplug.load()
    assert demo.execute()["version"] == "1.0"
    demo.edit("main.py", '"1.0"', '"2.0"')
    assert demo.execute()["version"] == "2.0"
    assert hotplug.events[-1].kind == "loaded"
