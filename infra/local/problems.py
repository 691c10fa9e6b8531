"""The error of the local servers, in one line that a person can act on."""

from schemas.errors import UserError


class SetupProblem(UserError):
    """Something on this machine prevents the set-up; nothing is left half-done. Line breaks become spaces."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
