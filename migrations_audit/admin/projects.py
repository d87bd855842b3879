"""Projects, and the targets with what was last read of them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters

from migrations_audit.access import actor_of
from migrations_audit.actions import registry
from migrations_audit.admin.base import at, environments_as, link, pretty
from migrations_audit.admin.fields import BlindTextarea, ReferenceInput, VariablesField, WordsField, variable_lines
from migrations_audit.admin.filters import by_environment, by_project
from migrations_audit.admin.readings import StandingFilter, newest_observation, with_standings
from migrations_audit.admin.registry import RegistryAdmin, VersionedForm
from migrations_audit.models import Project, Role, Target
from migrations_audit.models.projects import BUILT

_WIDE = {"class": "vLargeTextField", "autocomplete": "off", "spellcheck": "false"}


class ProjectForm(VersionedForm):
    write_only = frozenset({"new_git_key"})

    git_key = forms.CharField(
        label="Git key",
        required=False,
        max_length=4_000,
        widget=ReferenceInput(attrs=_WIDE),
        help_text="Where the worker finds the private key (ssh) or the token (https): env:NAME or file:/run/secrets/name. Never "
        "the key itself. Empty keeps what is stored.",
    )
    new_git_key = forms.CharField(
        label="New key or token (will be sealed)",
        required=False,
        max_length=4_000,
        widget=BlindTextarea(attrs={"rows": 3, "cols": 60, "autocomplete": "off", "spellcheck": "false"}),
        help_text="Instead of a reference: the private key or the token itself, for reading only. It is encrypted with the "
        "portal's sealing key as it is stored, and is never shown again. Empty keeps what is stored.",
    )
    remove_git_key = forms.BooleanField(label="Remove the stored git key", required=False)
    extra_environment = VariablesField(
        label="Extra environment",
        help_text="Further variables for env.py, one NAME=value per line. No secrets: everybody sees these. PATH, HOME, PYTHON…, "
        "LD_…, PG… and the portal's own names are not accepted.",
    )
    command = WordsField(
        label="The project's own command",
        help_text="One word per line, like flask, --app, shop, db, {direction}, {revision}: where it takes upgrade, downgrade "
        "or stamp, and the revision. It is called in the runner's process.",
    )
    x_arguments = WordsField(
        label="Further -x arguments", help_text="One per line, like tenant=main. No secrets: everybody sees these."
    )
    interpreter = forms.ChoiceField(
        required=False,
        help_text="Which Python runs the scripts: a name from PORTAL_INTERPRETERS, or one that a worker builds with uv from the "
        "requirements below. Only workers whose PORTAL_BUILD_FOR names this project build it.",
    )

    class Meta:
        model = Project
        fields = [
            "slug", "name", "source", "folder", "git_url", "git_ref", "requirements", "config_path", "ini_section",
            "launcher", "url_delivery", "url_delivery_name", "driver",
            "version_table", "version_table_schema",
        ]  # fmt: skip
        labels = {"slug": "Short name", "url_delivery": "URL delivered as", "url_delivery_name": "Variable or -x key"}
        help_texts = {
            "slug": "Lower case, like market. It is part of every target's name and of the audit, so it stays as it is once "
            "something was read or run.",
            "folder": "It holds the configuration and the scripts. Of a folder on the worker: an absolute path under one of "
            "PORTAL_PROJECT_ROOTS. In a repository: relative to its root, or . for the root. The portal does not open it; the "
            "next observation says whether the worker could.",
            "git_url": "https://host/path or ssh://git@host/path, at a host of PORTAL_GIT_HOSTS. No password in it.",
            "git_ref": "A branch, a tag, or a commit id in full. Each plan names the commit to which it led; if it leads to "
            "other scripts when the run starts, the approval is void.",
            "requirements": "Only for an interpreter that a worker builds: a uv.lock (its pyproject.toml beside it), or a file "
            "with pinned packages and --hash, relative to the folder. Wheels only.",
            "url_delivery": "How env.py takes the database URL. Look into it: config.get_main_option("
            "“sqlalchemy.url”), os.environ[…], or context.get_x_argument().",
            "driver": "The SQLAlchemy driver that this project has installed.",
            "version_table": "alembic_version, unless env.py passes version_table.",
            "version_table_schema": "Only if env.py passes version_table_schema. Empty: the first schema of the search_path.",
        }
        widgets = {name: forms.TextInput(attrs=_WIDE) for name in ("folder", "git_url", "git_ref", "requirements")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        interpreter = self.fields.get("interpreter")
        if isinstance(interpreter, forms.ChoiceField):
            names = sorted({*settings.PORTAL_INTERPRETERS, self.instance.interpreter} - {""})
            built = (BUILT, "built by a worker with uv, from the requirements")
            interpreter.choices = [
                ("", "the worker's own Python"),
                *((name, name) for name in names if name != BUILT),
                built,
            ]


@method_decorator(sensitive_post_parameters("git_key", "new_git_key"), name="changeform_view")
@admin.register(Project)
class ProjectAdmin(RegistryAdmin):
    form = ProjectForm
    list_display = ["name", "slug", "source", "folder", "config_path", "url_delivery", "driver"]
    list_filter = ["source", "url_delivery", "driver"]
    search_fields = ["slug", "name", "folder", "git_url"]
    hidden_fields = ("git_key",)
    for_viewers = {
        "seen_version": None,
        "extra_environment": "variables",
        "command": "command_words",
        "x_arguments": "x_argument_words",
        "git_key": None,
        "new_git_key": None,
        "remove_git_key": None,
    }
    fieldsets = [
        (None, {"fields": ["name", "slug", "seen_version"]}),
        ("Scripts", {"fields": ["source", "folder", "config_path", "ini_section"]}),
        (
            "Git repository",
            {
                "fields": ["git_url", "git_ref", "stored_git_key", "git_key", "new_git_key", "remove_git_key"],
                "description": "Only when that is the source. Workers fetch it; the portal's web process never does.",
            },
        ),
        (
            "How they run",
            {
                "fields": [
                    "interpreter",
                    "requirements",
                    "launcher",
                    "command",
                    "driver",
                    "url_delivery",
                    "url_delivery_name",
                    "x_arguments",
                    "extra_environment",
                ],
                "description": "Any change here makes approvals void that were given before it.",
            },
        ),
        ("Version table", {"fields": ["version_table", "version_table_schema"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        # Whoever registers targets somewhere must be able to choose among all projects.
        if self.sees_all(request) or environments_as(request, Role.ADMINISTRATOR):
            return Project.objects.all()
        visible = Target.objects.visible_to(request.user.pk).filter(project=OuterRef("pk"))
        return Project.objects.filter(Exists(visible))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["stored_git_key", *(["slug"] if obj is not None and registry.has_history(obj) else [])]

    def save_model(self, request: HttpRequest, obj: Project, form: ProjectForm, change: bool) -> None:
        pk = obj.pk if change else None
        self.adopt(obj, registry.save_project(actor=actor_of(request), project_id=pk, **form.chosen()))

    def delete_model(self, request: HttpRequest, obj: Project) -> None:
        registry.remove_project(actor=actor_of(request), project_id=obj.pk)

    @admin.display(description="key stored now")
    def stored_git_key(self, project: Project) -> str:
        return project.shown_git_key or "none"

    @admin.display(description="command")
    def command_words(self, project: Project) -> str:
        return " ".join(project.command) or "–"

    @admin.display(description="further -x arguments")
    def x_argument_words(self, project: Project) -> str:
        return ", ".join(project.x_arguments) or "–"

    @admin.display(description="extra environment")
    def variables(self, project: Project) -> str:
        return variable_lines(project.extra_environment) or "–"


class TargetForm(VersionedForm):
    write_only = frozenset({"new_url"})

    url_reference = forms.CharField(
        label="URL reference",
        required=False,
        max_length=2_000,
        widget=ReferenceInput(attrs={"class": "vLargeTextField", "autocomplete": "off", "spellcheck": "false"}),
        help_text="Where the worker finds the URL: env:NAME for a variable of the worker, file:/run/secrets/name for a file that "
        "holds only the URL. Never the URL itself. Empty keeps what is stored.",
    )
    new_url = forms.CharField(
        label="New URL (will be sealed)",
        required=False,
        max_length=2_000,
        widget=forms.PasswordInput(
            render_value=False, attrs={"class": "vLargeTextField", "autocomplete": "off", "spellcheck": "false"}
        ),
        help_text="Instead of a reference: postgresql://user:password@host:5432/database. It is encrypted with the portal's "
        "sealing key as it is stored, and is never shown again. Empty keeps what is stored.",
    )

    class Meta:
        model = Target
        fields = ["project", "environment", "slug"]
        labels = {"slug": "Short name"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.reference_kind == "sealed":
            self.initial["url_reference"] = ""


class TargetList(ChangeList):
    """The page's targets with their standing, in one query more."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = with_standings(self.result_list)


@method_decorator(sensitive_post_parameters("new_url", "url_reference"), name="changeform_view")
@admin.register(Target)
class TargetAdmin(RegistryAdmin):
    form = TargetForm
    list_display = ["label", "environment", "standing", "read_at", "page"]
    list_filter = [
        StandingFilter,
        by_environment("environment"),
        by_project("project"),
        "environment__tier",
    ]
    list_select_related = ["project", "environment"]
    search_fields = ["slug", "project__slug", "project__name", "environment__slug", "environment__name"]
    hidden_fields = ("url_reference", "identity")
    initial_from_link = ("project", "environment")
    for_viewers = {"seen_version": None, "url_reference": None, "new_url": None}
    fieldsets = [
        (None, {"fields": ["project", "environment", "slug", "seen_version"]}),
        (
            "Where its URL is",
            {
                "fields": ["reference", "url_reference", "new_url"],
                "description": "Only workers follow the reference. A worker reads the target as soon as this is saved; if it "
                "finds another database than the enrolled one, it says so and runs nothing there.",
            },
        ),
        ("What answered", {"fields": ["identity_facts", "enrolled"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Target]:
        targets = Target.objects.all() if self.sees_all(request) else Target.objects.visible_to(request.user.pk)
        return targets.select_related("project", "environment").annotate(newest=newest_observation("pk"))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TargetList

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fixed = ["reference", "identity_facts", "enrolled"]
        return [*fixed, "project", "environment", "slug"] if obj is not None and registry.has_history(obj) else fixed

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is not None:
            return fieldsets
        without = [(title, {**options, "fields": [*options["fields"]]}) for title, options in fieldsets[:2]]
        without[1][1]["fields"].remove("reference")
        return without

    def save_model(self, request: HttpRequest, obj: Target, form: TargetForm, change: bool) -> None:
        pk = obj.pk if change else None
        self.adopt(obj, registry.save_target(actor=actor_of(request), target_id=pk, **form.chosen()))

    def delete_model(self, request: HttpRequest, obj: Target) -> None:
        registry.remove_target(actor=actor_of(request), target_id=obj.pk)

    @admin.display(description="target", ordering="project__slug")
    def label(self, target: Target) -> str:
        return target.label

    @admin.display(description="last reading")
    def standing(self, target: Any) -> str:
        return str(target.standing.words)

    @admin.display(description="read at")
    def read_at(self, target: Any) -> str:
        observation = target.standing.observation
        return f"{at(observation.at)}, {target.age} ago" if observation else "–"

    @admin.display(description="page")
    def page(self, target: Target) -> SafeString:
        return link("web:target", "open", pk=target.pk)

    @admin.display(description="stored now")
    def reference(self, target: Target) -> str:
        return target.shown_reference

    @admin.display(description="enrolled identity")
    def identity_facts(self, target: Target) -> Any:
        return pretty(target.identity) if target.identity else "none yet: the first reading enrols what it finds"

    @admin.display(description="enrolled at")
    def enrolled(self, target: Target) -> str:
        return at(target.enrolled_at)
