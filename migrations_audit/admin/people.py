"""Accounts and groups in Django's own pages, saved through the audited actions. For superusers."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from migrations_audit.access import actor_of
from migrations_audit.actions import people, proposals
from migrations_audit.actors import Actor
from migrations_audit.admin.registry import ProposingAdmin, RefusableAdmin, RefusableForm

if TYPE_CHECKING:
    PasswordForm = AdminPasswordChangeForm[User]
    CreationForm = AdminUserCreationForm[User]
    AccountPages = DjangoUserAdmin[User]
else:
    AccountPages = DjangoUserAdmin
    PasswordForm = AdminPasswordChangeForm
    CreationForm = AdminUserCreationForm

admin.site.unregister(User)
admin.site.unregister(Group)


class NewAccountForm(RefusableForm, CreationForm):
    write_only = frozenset({"password1", "password2"})


class AccountForm(RefusableForm):
    class Meta:
        model = User
        fields = [
            "first_name",
            "last_name",
            "email",
            "is_active",
            "is_staff",
            "is_superuser",
            "groups",
            "user_permissions",
        ]
        help_texts = {
            "is_active": "Off: the person cannot sign in, their tokens are refused and their approvals no longer count. "
            "Accounts are switched off and never deleted, because the audit names them.",
            "is_staff": "Whether the person can sign in to the portal.",
            "is_superuser": "Sees and administers everything. Approving and running take a membership, like anyone's.",
            "groups": "Groups hold the roles in environments.",
        }


class AuditedPasswordForm(PasswordForm):
    """Django's form for another person's password, saved through the action."""

    def __init__(self, user: User, *args: Any, actor: Actor, **kwargs: Any) -> None:
        self.actor = actor
        super().__init__(user, *args, **kwargs)

    def save(self, commit: bool = True) -> User:
        password = self.cleaned_data["password1"] if self.cleaned_data["set_usable_password"] else None
        stored = people.set_password(actor=self.actor, user_id=self.user.pk, password=password)
        self.user.password = stored.password  # the caller keeps the person's own session alive with it
        return stored


class SuperusersOnly(RefusableAdmin):
    """Seen and changed by superusers and nobody else."""

    def sees(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.sees(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.sees(request)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing: the action has saved groups and permissions already, and recorded them."""


@admin.register(User)
class AccountAdmin(ProposingAdmin, SuperusersOnly, AccountPages):
    said_of_the_rest = "The rest of the account is stored. That it enters a group of approvers is proposed."
    form = AccountForm
    add_form = NewAccountForm
    list_display = ["username", "email", "is_active", "is_staff", "is_superuser", "in_groups"]
    list_filter = ["is_active", "is_staff", "is_superuser", "groups"]
    readonly_fields = ["username", "password_state", "last_login", "date_joined"]
    hidden_fields = ("password",)
    fieldsets = [
        (None, {"fields": ["username", "password_state"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Rights", {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("Dates", {"fields": ["last_login", "date_joined"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [] if obj is None else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        """The account that the form speaks of; Django's creation form would hash the password here."""
        return form.instance

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if change:
            made = proposals.change_user(actor=actor_of(request), user_id=obj.pk, **form.cleaned_data)
            if made:
                request.portal_proposals = made  # type: ignore[attr-defined]
            return
        chosen = form.cleaned_data
        password = chosen["password1"] if chosen["set_usable_password"] else None
        stored = people.create_user(actor=actor_of(request), username=chosen["username"], password=password)
        obj.pk = stored.pk

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        view = copy.copy(self)
        view.change_password_form = functools.partial(AuditedPasswordForm, actor=actor_of(request))
        return DjangoUserAdmin.user_change_password(view, request, id, form_url)

    @admin.display(description="password")
    def password_state(self, user: User) -> SafeString:
        state = "set; it cannot be shown" if user.has_usable_password() else "none: cannot sign in with one"
        return format_html(
            '{} · <a href="{}">set another password</a>',
            state,
            reverse("admin:auth_user_password_change", args=[user.pk]),
        )

    @admin.display(description="groups")
    def in_groups(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all())


class GroupForm(RefusableForm):
    class Meta:
        model = Group
        fields = ["name", "permissions"]
        help_texts = {
            "permissions": "Roles in environments are given by memberships. These are Django's own permissions: "
            "“change environment” and the like let the group change the registry everywhere."
        }


@admin.register(Group)
class GroupsAdmin(SuperusersOnly, DjangoGroupAdmin):
    form = GroupForm
    list_display = ["name", "people", "roles"]
    readonly_fields = ["people", "roles"]
    fields = ["name", "permissions", "people", "roles"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("user_set", "portal_memberships__environment")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.sees(request)

    def save_model(self, request: HttpRequest, obj: Group, form: GroupForm, change: bool) -> None:
        chosen = form.cleaned_data
        stored = people.save_group(
            actor=actor_of(request),
            group_id=obj.pk if change else None,
            name=chosen["name"],
            permissions=chosen["permissions"],
        )
        obj.pk = stored.pk

    def refuse_removal(self, entry: Group) -> None:
        people.refuse_removal(entry)

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        people.remove_group(actor=actor_of(request), group_id=obj.pk)

    @admin.display(description="people")
    def people(self, group: Group) -> str:
        return ", ".join(sorted(user.username for user in group.user_set.all())) or "–"

    @admin.display(description="roles")
    def roles(self, group: Group) -> str:
        held = [
            f"{item.approver_role or item.get_role_display().lower()} in {item.environment.name}"
            for item in group.portal_memberships.all()
        ]
        return ", ".join(held) or "–"
