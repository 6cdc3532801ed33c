"""Prove or refute that plugins are safe to hot-reload: what a reload leaves behind, breaks or serves too early.

Knows no pytest. `runner.verify` is the way in; a check is one file in `checks`.
"""
