"""The one class of errors that a person can act on, for every package."""


class UserError(Exception):
    """Something that the person who started the program can put right: a file, a setting, a server, a name.

    The message is one line: what is wrong, where, and what to do. The command line prints it on standard error without
    a trace and ends with `exit_status`. Every other exception is a defect and keeps its trace.
    """

    exit_status = 2

    @property
    def line(self) -> str:
        """What the command line prints."""
        return str(self)
