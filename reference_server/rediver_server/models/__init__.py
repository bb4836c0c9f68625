"""The tables. Those of the origin document have all of its columns and indexes, by its names."""

from rediver_server.models.base import Base, new_id
from rediver_server.models.commands import (
    Command,
    CommandEvent,
    CreationBucket,
    IdempotentRequest,
    ScanSchedule,
)
from rediver_server.models.findings import (
    Asset,
    AssetScan,
    Finding,
    Report,
    ReportAsset,
    ReportPart,
    Sighting,
)
from rediver_server.models.tenants import ApiKey, EnrollmentToken, Role, Source, Tenant

__all__ = [
    "ApiKey", "Asset", "AssetScan", "Base", "Command", "CommandEvent", "CreationBucket",
    "EnrollmentToken", "Finding", "IdempotentRequest", "Report", "ReportAsset", "ReportPart",
    "Role", "ScanSchedule", "Sighting", "Source", "Tenant", "new_id",
]  # fmt: skip
