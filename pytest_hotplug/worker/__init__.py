"""The long-running process that serves plugins, and the channel over which it is commanded.

Needs the extra `worker`; nothing of that is imported before somebody starts a worker or speaks to one.
"""
