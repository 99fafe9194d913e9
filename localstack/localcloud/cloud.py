"""What the commands need of an emulated AWS, whichever it is."""

from typing import Protocol


class Cloud(Protocol):
    """An emulator on loopback."""

    name: str

    def running(self) -> bool:
        """Whether it runs, with the settings of this command."""
        ...

    def alive(self) -> bool:
        """Whether it runs, with whatever settings."""
        ...

    def require(self) -> None:
        """Raise LocalCloudError when this machine lacks what it needs; nothing is changed."""
        ...

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises LocalCloudError when it does not; `stop` ends what is left then.
        """
        ...

    def save(self) -> None:
        """Save its state, so that a crash loses no more than what comes after.

        Raises LocalCloudError when it cannot.
        """
        ...

    def stop(self) -> None:
        """Stop it so that its state is kept.

        Raises LocalCloudError when state was not saved; it has ended then too.
        """
        ...

    def remove_state(self) -> None:
        """Remove what it keeps outside the state directory; it does not run.

        Raises LocalCloudError, naming what is left, when it cannot.
        """
        ...
