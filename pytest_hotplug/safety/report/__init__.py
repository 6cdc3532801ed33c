"""What a verification came to, written down for people and programs: JSON, Markdown, SARIF, HTML, GitHub.

`record` holds the facts, `recording` makes them of judgements, `writing` is the way to a file.
"""
