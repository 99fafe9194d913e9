"""The environment of the browser's function: a field is the variable of its upper-case name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from servicekit.settings import Settings


class WorkerSettings(Settings):
    """`loopback_sites` are sites of this machine that pages may reach, for tests: none on AWS."""

    environment: Literal["local", "dev", "staging", "prod"]
    powertools_service_name: str = Field(min_length=1)
    powertools_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    chromium_path: str = Field(min_length=1)
    chromium_sandbox: bool = False
    loopback_sites: str = ""

    @property
    def loopback(self) -> list[str]:
        """The sites one by one."""
        return [site for site in self.loopback_sites.split(",") if site]
