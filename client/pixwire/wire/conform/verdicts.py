"""What a case can end with, apart from passing."""


class Failure(AssertionError):  # noqa: N818 - the word of the reports
    """The side under test did not do what the specification asks; the text says what it did instead."""


class Violation(Failure):
    """It sent something that it must not send, seen by the judge that reads along. `requirement`: the id, or ""."""

    def __init__(self, requirement: str, text: str) -> None:
        super().__init__(f"{text} [{requirement}]" if requirement else text)
        self.requirement = requirement


class Ended(Failure):
    """The byte stream ended where more had to come. `reset`: it was cut, not closed."""

    def __init__(self, text: str, *, reset: bool = False) -> None:
        super().__init__(text)
        self.reset = reset


class Silent(Failure):
    """Nothing came within the deadline."""


class Skip(Exception):  # noqa: N818 - no error: the case cannot be judged here, and says why
    """The case does not apply to what is under test; the text is the reason."""


class Unreachable(Exception):  # noqa: N818 - the end of a run, not the verdict of a case
    """The side under test cannot be reached at all."""
