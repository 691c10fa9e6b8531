"""What stops the local servers, said in one line that a person can act on."""


class SetupProblem(Exception):
    """Something on this machine stops the set-up; nothing was left half-done.

    The message is one line: what is wrong, where, and what to type. The command line prints it on standard
    error and ends with `exit_status`.
    """

    exit_status = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
