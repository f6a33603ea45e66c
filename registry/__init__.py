"""The Git registry: reading at a commit, rules, validation, keys, statements and proposals."""
