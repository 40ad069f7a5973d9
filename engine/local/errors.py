"""What can go wrong with a local service."""


class MissingProgramError(RuntimeError):
    """A program or file that `make setup` installs is not there. The text says what to do."""


class ChildError(RuntimeError):
    """A child process did not do what was asked of it. The text ends with its last log lines."""
