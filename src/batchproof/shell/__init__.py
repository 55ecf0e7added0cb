"""What every command shares: options from a signature, exit status, one-line errors. No torch.

Option, options_of   one value that a function takes: its type, default, limits and help
AtLeast, Between, Metavar    what the annotation of an option may say beside its help
command, Command     a command of typer's from options; the class of every command
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
