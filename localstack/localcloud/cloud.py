"""What the commands need of an emulated AWS, whichever it is."""

from typing import Protocol


class Cloud(Protocol):
    """An emulator on loopback."""

    name: str

    def running(self) -> bool:
        """Whether it runs, with the settings of this command."""
        ...

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises LocalCloudError when it does not; nothing is left running then.
        """
        ...

    def stop(self) -> None:
        """Stop it so that its state is kept.

        Raises LocalCloudError when it runs on, or when state was not saved.
        """
        ...
