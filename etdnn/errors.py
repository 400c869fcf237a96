"""Errors that are a user's to mend: one line, what, where, what to do."""


class UserError(Exception):
    """A mistake in input, options or environment; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(UserError):
    """A value on the command line that cannot be understood (exit status 2, as argparse has it)."""

    exit_code = 2
