"""Fields, constraints and querysets. Nothing here writes across models; that is what actions are for."""

from __future__ import annotations

from migrations_audit.models.approvals import Approval
from migrations_audit.models.audit import AuditEvent
from migrations_audit.models.environments import Environment, Membership, Role, Tier
from migrations_audit.models.evidence import Catalog, Evidence, Observation
from migrations_audit.models.findings import FindingAcceptance
from migrations_audit.models.glass import GlassReview, Notice
from migrations_audit.models.plans import Plan, Snapshot
from migrations_audit.models.projects import Project, Target
from migrations_audit.models.proposals import PolicyProposal
from migrations_audit.models.rehearsals import Rehearsal, RevisionDelta
from migrations_audit.models.runs import LogLine, MigrationRun, RunStep
from migrations_audit.models.tokens import ApiToken
from migrations_audit.models.windows import Freeze, Window, WindowKind
from migrations_audit.models.workers import Worker

__all__ = [
    "ApiToken",
    "Approval",
    "AuditEvent",
    "Catalog",
    "Environment",
    "Evidence",
    "FindingAcceptance",
    "Freeze",
    "GlassReview",
    "LogLine",
    "Membership",
    "MigrationRun",
    "Notice",
    "Observation",
    "Plan",
    "PolicyProposal",
    "Project",
    "Rehearsal",
    "RevisionDelta",
    "Role",
    "RunStep",
    "Snapshot",
    "Target",
    "Tier",
    "Window",
    "WindowKind",
    "Worker",
]
