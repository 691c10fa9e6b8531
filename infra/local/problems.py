"""What keeps the local servers from running, in one line that a person can act on."""

from schemas.errors import UserError


class SetupProblem(UserError):
    """Something on this machine stops the set-up; nothing was left half-done. Line breaks become blanks."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
