"""The one error of the local cloud: what is wrong and what to do about it."""

import errno


class LocalCloudError(Exception):
    """Stops a command. Printed as one line: the reason, then the remedy."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.reason = reason
        self.remedy = remedy


def from_os_error(error: OSError) -> LocalCloudError:
    """One line for an error of the operating system."""
    if error.errno == errno.ENOSPC:
        return LocalCloudError(
            "No space is left on the disk.", "Free some, or set LOCAL_STATE_DIR elsewhere."
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} and error.filename:
        return LocalCloudError(
            f"{error.filename} cannot be written.", "Make it yours, or set LOCAL_STATE_DIR."
        )
    if error.errno in {errno.ENOTDIR, errno.EEXIST} and error.filename:
        return LocalCloudError(
            f"{error.filename} is no directory.", "Move it away, or set LOCAL_STATE_DIR."
        )
    return LocalCloudError(
        f"{error}.", "The logs are in the state directory, which LOCAL_STATE_DIR names."
    )
