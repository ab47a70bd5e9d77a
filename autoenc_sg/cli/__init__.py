"""The command line: `main.py` has the list of commands, `options.py` makes options of dataclasses.

Every other file holds a command or a group of them: a dataclass of options, the function that runs
it, and the `Command` that `main.py` lists.
"""
