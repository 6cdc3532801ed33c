"""`pytest --hotplug-verify`: each plugin's manifest becomes a file of test items, one for each safety check."""
