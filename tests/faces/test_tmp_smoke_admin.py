import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import reverse
from tests import people

@pytest.mark.django_db
@pytest.mark.parametrize("who", ["root", "admin", "viewer"])
def test_all(client, who, settings, tmp_path):
    settings.STATIC_ROOT = str(tmp_path)
    place = people.make_place(); import pathlib
    run = people.make_run(place, state="queued")
    User.objects.create_superuser("root", password=people.PASSWORD)
    from migrations_audit.actions import sweeps
    sweeps.see_worker(name="w@h", queues=["a"])
    client.force_login(User.objects.get(username=who))
    for model, ma in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        r = client.get(reverse(name + "_changelist"))
        print(who, name, r.status_code)
        pathlib.Path(f"/tmp/admin-registry/{who}-{model._meta.model_name}-list.html").write_bytes(r.content)
        r2 = client.get(reverse(name + "_add"))
        print("   add", r2.status_code)
        obj = model._default_manager.first()
        if obj is not None:
            r3 = client.get(reverse(name + "_change", args=[obj.pk]))
            pathlib.Path(f"/tmp/admin-registry/{who}-{model._meta.model_name}-change.html").write_bytes(r3.content)
            r4 = client.get(reverse(name + "_delete", args=[obj.pk]))
            print("   change", r3.status_code, "delete", r4.status_code)
