"""The shared parts of commands: options from a signature, exit status, one-line errors. No torch.

Option, options_of   one value that a function takes: its type, default, limits and help
AtLeast, Between, Metavar    limits and metavar in the annotation of an option
command, Command     a typer command made from options; the class of every command
guarded              runs a command: exit status, and errors as one line
"""

from batchproof.shell._command import CONTEXT, Command, command
from batchproof.shell._guard import guarded
from batchproof.shell._option import AtLeast, Between, Metavar, Option, options_of

__all__ = [
    "CONTEXT",
    "AtLeast",
    "Between",
    "Command",
    "Metavar",
    "Option",
    "command",
    "guarded",
    "options_of",
]
