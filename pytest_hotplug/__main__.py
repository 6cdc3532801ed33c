"""`python -m pytest_hotplug` is the `hotplug` command."""

from pytest_hotplug.cli import main

raise SystemExit(main())
