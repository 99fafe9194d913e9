"""The environment of the browser pool's functions: a field is the variable of its upper-case
name.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from servicekit.settings import Settings


class BaseSettings(Settings):
    """Of every function but the browser's own, which knows no table."""

    environment: Literal["local", "dev", "staging", "prod"]
    powertools_service_name: str = Field(min_length=1)
    powertools_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    table_name: str = Field(min_length=1)


class AuditSettings(BaseSettings):
    """Of the function that brings audit records to the audit sink."""

    # The SSM parameter that holds the address of the audit sink's API.
    audit_url_parameter: str = Field(min_length=1)


class SessionSettings(BaseSettings):
    """Of whatever opens or ends sessions."""

    max_sessions: int = Field(ge=1)
    max_project_sessions: int = Field(ge=1)
    max_user_sessions: int = Field(ge=1)
    session_idle_seconds: int = Field(ge=1)
    session_age_seconds: int = Field(ge=1)


class ReaperSettings(SessionSettings):
    """Of what ends sessions that nobody uses."""

    objects_bucket: str = Field(min_length=1)


class ApiSettings(ReaperSettings):
    """Of the function behind the API. `egress_sites` are separated by commas."""

    worker_function: str = Field(min_length=1)
    # Whether the browser's function has an environment for each session.
    worker_tenants: bool
    egress_sites: str = ""
    egress_strict: bool = False

    @property
    def sites(self) -> list[str]:
        """The sites one by one."""
        return [site for site in self.egress_sites.split(",") if site]
