"""Forms that change the registry. They save through an action and show its refusal at the field that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse

from migrations_audit.access import actor_of
from migrations_audit.actions import audit, proposals, registry, registry_rights, registry_rules
from migrations_audit.actions.registry_rights import Verb
from migrations_audit.admin.base import PortalAdmin, environments_as
from migrations_audit.errors import Denied, NotFound, PortalError
from migrations_audit.models import PolicyProposal, Role

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
else:
    ModelForm = forms.ModelForm

PASTED = (
    "This held a password, so it was not kept. Passwords belong only into a target's “New URL”. "
    "If others could see this screen, change the password."
)


class RefusableForm(ModelForm):
    """A form that shows why an action refused it, and that never sends a pasted password back."""

    write_only: frozenset[str] = frozenset()
    refusal: PortalError | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pasted: list[str] = []
        if isinstance(self.data, QueryDict):
            self.data = self._without_passwords(self.data)

    def _without_passwords(self, data: QueryDict) -> QueryDict:
        clean = data.copy()
        for name in set(self.fields) - self.write_only:
            if any(registry_rules.holds_a_password(str(value)) for value in data.getlist(name)):
                self.pasted.append(name)
                clean[name] = ""
        return clean

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        for name in self.pasted:
            self.errors.pop(name, None)
            self.add_error(name, PASTED)
        if self.refusal is not None:
            field = getattr(self.refusal, "field", None)
            self.add_error(field if field in self.fields else None, self.refusal.message)
        return cleaned


class VersionedForm(RefusableForm):
    """A form that knows which version of the settings it shows."""

    seen_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["seen_version"] = self.instance.settings_version

    def chosen(self) -> dict[str, Any]:
        """What the action is given."""
        return {name: value for name, value in self.cleaned_data.items() if name in self.fields}


class RefusableAdmin(PortalAdmin):
    """Saves and removes through actions; what they refuse is shown on the form, and everything is rolled back."""

    for_viewers: Mapping[str, str | None] = {}
    """What stands in place of a form's own field when the page is read-only; None for nothing."""
    initial_from_link: tuple[str, ...] = ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        given = super().get_changeform_initial_data(request)
        return {name: value for name, value in given.items() if name in self.initial_from_link}

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        refusal = getattr(request, "portal_refusal", None)
        return form if refusal is None else type(form.__name__, (form,), {"refusal": refusal})

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        return [(title, {**options, "fields": self._viewed(options["fields"])}) for title, options in fieldsets]

    def _viewed(self, fields: Any) -> list[str]:
        shown = [self.for_viewers.get(name, name) for name in fields]
        return [name for name in shown if name is not None]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except PortalError as error:
            self._keep_denial(request, error)
            # The same form once more, now with the refusal at its field: it does not validate, so nothing is saved.
            request.portal_refusal = error  # type: ignore[attr-defined]
            return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        entry = self.get_object(request, unquote(object_id))
        try:
            if entry is not None and self.has_delete_permission(request, entry):
                self.refuse_removal(entry)
            return super().delete_view(request, object_id, extra_context)
        except PortalError as error:
            self._keep_denial(request, error)
            self.message_user(request, error.message, messages.ERROR)
            return HttpResponseRedirect(
                reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[object_id])
            )

    def adopt(self, entry: Any, stored: Any) -> None:
        """Let the form's own object stand for the row that the action wrote."""
        entry.pk = stored.pk
        entry._state.adding = False

    def refuse_removal(self, entry: Any) -> None:
        """Raise a PortalError when the entry cannot be removed."""
        registry.refuse_removal(entry)

    def _keep_denial(self, request: HttpRequest, error: PortalError) -> None:
        """Record the denial again: the action's own event was rolled back together with the form's transaction."""
        if isinstance(error, Denied | NotFound):
            audit.record_denial(actor=actor_of(request), verb=f"admin.{self.opts.model_name}", error=error)


class RegistryAdmin(RefusableAdmin):
    """An entry of the registry, changed by those who may by Django's permissions or as administrators of its environment."""

    def may(self, request: HttpRequest, verb: Verb, entry: Any = None) -> bool:
        """Whether the person may do this to the entry; without one, whether to any."""
        if registry_rights.holds_permission(request.user, verb, self.model):
            return True
        if self.model not in registry_rights.LOCAL:
            return False
        administered = environments_as(request, Role.ADMINISTRATOR)
        return bool(administered) if entry is None else entry.environment_id in administered

    def sees(self, request: HttpRequest) -> bool:
        return super().sees(request) or self.sees_all(request)

    def sees_all(self, request: HttpRequest) -> bool:
        """Whether a permission of Django's shows the person every entry."""
        verbs = ("view", "change", "add", "delete")
        names = [f"{self.opts.app_label}.{verb}_{self.opts.model_name}" for verb in verbs]
        return bool(request.user.is_active and any(request.user.has_perm(name) for name in names))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "change", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "delete", obj)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        may_all = any(registry_rights.holds_permission(request.user, verb, self.model) for verb in ("add", "change"))
        if field is not None and field.queryset is not None and db_field.name == "environment" and not may_all:
            field.queryset = field.queryset.filter(pk__in=environments_as(request, Role.ADMINISTRATOR))
        return field


class ProposingAdmin(RefusableAdmin):
    """An entry of which some changes are only proposed: the answer then says what waits, and who confirms it."""

    said_of_the_rest = "Nothing was changed yet."

    def adopt_or_say(self, request: HttpRequest, entry: Any, stored: Any) -> None:
        """Let the form's object stand for the row that was written; or remember the proposal that was made instead."""
        if isinstance(stored, PolicyProposal):
            request.portal_proposals = [stored]  # type: ignore[attr-defined]
        else:
            self.adopt(entry, stored)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None if hasattr(request, "portal_proposals") else super().log_change(request, obj, message)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None if hasattr(request, "portal_proposals") else super().log_addition(request, obj, message)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        return self._proposed(request) or super().response_delete(request, obj_display, obj_id)

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return self._proposed(request) or super().response_change(request, obj)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return self._proposed(request) or super().response_add(request, obj, post_url_continue)

    def _proposed(self, request: HttpRequest) -> HttpResponse | None:
        made = getattr(request, "portal_proposals", [])
        if not made:
            return None
        for proposal in made:
            sentence = f"{self.said_of_the_rest} {proposal} waits on the dashboard. {proposals.who_confirms(proposal)}"
            self.message_user(request, sentence, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:index"))
