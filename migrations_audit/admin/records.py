"""What was read: observations, evidence, snapshots; and which workers were heard. Nobody writes these by hand."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from migrations_audit.admin.base import RecordAdmin, at, link, pretty
from migrations_audit.admin.filters import ByPurpose, by_environment, by_project
from migrations_audit.models import Environment, Evidence, Observation, Snapshot, Target, Worker


@admin.register(Observation)
class ObservationAdmin(RecordAdmin):
    ordering = ["-id"]
    list_display = ["read_at", "target_page", "status", "sentence", "purpose", "reader"]
    list_filter = [
        "status",
        ByPurpose,
        by_environment("target__environment"),
        by_project("target__project"),
    ]
    search_fields = ["sentence", "error_code", "reader", "target__slug", "target__project__slug"]
    fields = ["read_at", "target_page", "status", "sentence", "error_code", "purpose", "reader", "of_run", "rows", "heads_shown",
              "pending_shown", "identity_shown", "fingerprint", "scripts", "facts_shown"]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Observation]:
        readings = Observation.objects.filter(target__environment__in=Environment.objects.visible_to(request.user.pk))
        readings = readings.select_related("target__project", "target__environment")
        return readings.defer("facts", "identity", "pending")

    @admin.display(description="read at", ordering="at")
    def read_at(self, observation: Observation) -> str:
        return at(observation.at)

    @admin.display(description="target")
    def target_page(self, observation: Observation) -> SafeString:
        return link("web:target", observation.target, pk=observation.target_id)

    @admin.display(description="run")
    def of_run(self, observation: Observation) -> SafeString | str:
        number = observation.run_id
        return link("web:run", f"Run {number}", number=number) if number is not None else "–"

    @admin.display(description="rows of the version table")
    def rows(self, observation: Observation) -> str:
        if observation.revisions is None:
            return "not read, or there is no version table"
        return ", ".join(observation.revisions) or "none"

    @admin.display(description="heads")
    def heads_shown(self, observation: Observation) -> str:
        return ", ".join(observation.heads) or "–"

    @admin.display(description="pending")
    def pending_shown(self, observation: Observation) -> SafeString:
        return pretty(observation.pending)

    @admin.display(description="who answered")
    def identity_shown(self, observation: Observation) -> SafeString | str:
        return pretty(observation.identity) if observation.identity else "nobody"

    @admin.display(description="catalog")
    def fingerprint(self, observation: Observation) -> str:
        return observation.catalog_id or "not read"

    @admin.display(description="scripts")
    def scripts(self, observation: Observation) -> str:
        return observation.snapshot.digest if observation.snapshot is not None else "none"

    @admin.display(description="further facts")
    def facts_shown(self, observation: Observation) -> SafeString:
        return pretty(observation.facts)


@admin.register(Evidence)
class EvidenceAdmin(RecordAdmin):
    ordering = ["-id"]
    list_display = ["checked_at", "target", "of_run", "check_name", "outcome", "expected", "observed"]
    list_filter = ["outcome", by_environment("target__environment")]
    search_fields = ["=run__number", "check_name", "expected", "observed", "target__slug", "target__project__slug"]
    fields = [
        "checked_at",
        "target",
        "of_run",
        "check_name",
        "outcome",
        "expected",
        "observed",
        "detail_shown",
        "observation",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Evidence]:
        evidence = Evidence.objects.filter(target__environment__in=Environment.objects.visible_to(request.user.pk))
        return evidence.select_related("target__project", "target__environment")

    @admin.display(description="checked at", ordering="at")
    def checked_at(self, evidence: Evidence) -> str:
        return at(evidence.at)

    @admin.display(description="run", ordering="run")
    def of_run(self, evidence: Evidence) -> SafeString | str:
        number = evidence.run_id
        return link("web:run", f"Run {number}", number=number) if number is not None else "–"

    @admin.display(description="detail")
    def detail_shown(self, evidence: Evidence) -> SafeString:
        return pretty(evidence.detail)


@admin.register(Snapshot)
class SnapshotAdmin(RecordAdmin):
    list_display = ["frozen_at", "project", "short_digest"]
    list_filter = [by_project("project")]
    search_fields = ["digest", "project__slug"]
    date_hierarchy = "at"
    fields = ["frozen_at", "project", "digest", "listed", "graph_shown"]
    hidden_fields = ("archive",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Snapshot]:
        visible = Target.objects.visible_to(request.user.pk).filter(project=OuterRef("project"))
        snapshots = Snapshot.objects.all() if request.user.is_superuser else Snapshot.objects.filter(Exists(visible))
        return snapshots.select_related("project").defer("archive", "files", "graph")

    @admin.display(description="frozen at", ordering="at")
    def frozen_at(self, snapshot: Snapshot) -> str:
        return at(snapshot.at)

    @admin.display(description="digest")
    def short_digest(self, snapshot: Snapshot) -> str:
        return snapshot.digest[:12]

    @admin.display(description="files")
    def listed(self, snapshot: Snapshot) -> SafeString:
        rows = ((each["path"], each["sha256"], each["size"]) for each in snapshot.files)
        return format_html_join("", "<div><code>{} {} ({} bytes)</code></div>", rows)

    @admin.display(description="revisions")
    def graph_shown(self, snapshot: Snapshot) -> SafeString:
        return pretty(snapshot.graph)


@admin.register(Worker)
class WorkerAdmin(RecordAdmin):
    list_display = ["name", "consumes", "last_heard", "asked_to_end"]
    search_fields = ["name"]
    fields = ["name", "consumes", "last_heard", "asked_to_end"]

    @admin.display(description="queues")
    def consumes(self, worker: Worker) -> str:
        return ", ".join(worker.queues)

    @admin.display(description="last heard", ordering="seen_at")
    def last_heard(self, worker: Worker) -> str:
        return at(worker.seen_at)

    @admin.display(description="asked to end", ordering="ending_since_at")
    def asked_to_end(self, worker: Worker) -> str:
        return at(worker.ending_since_at)
