"""Approval rules: verified earlier, runs that start without approval, and what the database itself refuses of them.

A start without approval is a move from awaiting_approval to queued, and it needs who broke the glass and why in the same update. That
stays as it is for ever. The function of the trigger on runs is that of 0006 with this move more.
"""

from __future__ import annotations

import importlib

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

BEFORE = importlib.import_module("migrations_audit.migrations.0006_windows").AFTER
EXPIRED = "        ('awaiting_approval', 'expired'),"
AFTER = BEFORE.replace(EXPIRED, f"{EXPIRED}\n        ('awaiting_approval', 'queued'),")


GLASS = """
CREATE FUNCTION migrations_audit_check_glass() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.broke_glass_at IS NOT NULL OR NEW.broke_glass_by_id IS NOT NULL
           OR (NEW.broke_glass_by_name, NEW.broke_glass_why_now, NEW.broke_glass_why_not) IS DISTINCT FROM ('', '', '') THEN
            RAISE EXCEPTION 'a run begins with its glass whole' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.state = 'awaiting_approval' AND NEW.state = 'queued' AND NEW.broke_glass_at IS NULL THEN
        RAISE EXCEPTION 'run %: without approval it starts only with broken glass', OLD.number
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (OLD.broke_glass_at, OLD.broke_glass_by_id, OLD.broke_glass_by_name, OLD.broke_glass_why_now, OLD.broke_glass_why_not)
       IS DISTINCT FROM
       (NEW.broke_glass_at, NEW.broke_glass_by_id, NEW.broke_glass_by_name, NEW.broke_glass_why_now, NEW.broke_glass_why_not) THEN
        IF OLD.broke_glass_at IS NOT NULL OR OLD.state NOT IN ('awaiting_approval', 'approved') OR NEW.state <> 'queued' THEN
            RAISE EXCEPTION 'run %: broken glass stays as it is', OLD.number USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF NEW.broke_glass_at IS NULL OR NEW.broke_glass_by_id IS NULL OR NEW.broke_glass_by_name = ''
           OR char_length(NEW.broke_glass_why_now) < 20 OR char_length(NEW.broke_glass_why_not) < 20 THEN
            RAISE EXCEPTION 'run %: broken glass needs who and why', OLD.number USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER migrationrun_glass BEFORE INSERT OR UPDATE ON migrations_audit_migrationrun
    FOR EACH ROW EXECUTE FUNCTION migrations_audit_check_glass();

CREATE FUNCTION migrations_audit_check_glassreview() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM migrations_audit_migrationrun WHERE number = NEW.run_id AND broke_glass_by_id = NEW.starter_id
    ) THEN
        RAISE EXCEPTION 'a review belongs to a run with broken glass and names who started it'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER glassreview_check BEFORE INSERT ON migrations_audit_glassreview
    FOR EACH ROW EXECUTE FUNCTION migrations_audit_check_glassreview();
CREATE TRIGGER glassreview_append_only BEFORE UPDATE OR DELETE ON migrations_audit_glassreview
    FOR EACH ROW EXECUTE FUNCTION migrations_audit_refuse_change();
CREATE TRIGGER glassreview_never_emptied BEFORE TRUNCATE ON migrations_audit_glassreview
    FOR EACH STATEMENT EXECUTE FUNCTION migrations_audit_refuse_change();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('migrations_audit', '0008_limits'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='environment',
            name='requires_verified_in',
            field=models.ForeignKey(blank=True, help_text='An upgrade here is approved only after the same scripts were verified in that environment, to the same revisions or past them. Empty: not asked for.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='required_by', to='migrations_audit.environment', verbose_name='verified first in'),
        ),
        migrations.AddField(
            model_name='migrationrun',
            name='broke_glass_at',
            field=models.DateTimeField(blank=True, help_text='When it was started without approval; for ever empty for a run that was approved.', null=True),
        ),
        migrations.AddField(
            model_name='migrationrun',
            name='broke_glass_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='migrationrun',
            name='broke_glass_by_name',
            field=models.CharField(blank=True, max_length=150),
        ),
        migrations.AddField(
            model_name='migrationrun',
            name='broke_glass_why_not',
            field=models.TextField(blank=True, help_text='Why it could not be approved in time.'),
        ),
        migrations.AddField(
            model_name='migrationrun',
            name='broke_glass_why_now',
            field=models.TextField(blank=True),
        ),
        migrations.AlterField(
            model_name='approval',
            name='decision',
            field=models.CharField(choices=[('approve', 'Approved'), ('reject', 'Rejected'), ('changes', 'Asked for changes')], max_length=10),
        ),
        migrations.AlterField(
            model_name='environment',
            name='requirements',
            field=models.JSONField(blank=True, default=list, help_text='Who must approve: [{"role": "database-administrator", "count": 1}, {"role": "owner", "count": 1}, {"people": 3}]. All are distinct people, three in all, and none is the requester.'),
        ),
        migrations.CreateModel(
            name='GlassReview',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('person_name', models.CharField(max_length=150)),
                ('text', models.TextField()),
                ('at', models.DateTimeField()),
                ('person', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('run', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='glass_review', to='migrations_audit.migrationrun')),
                ('starter', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['at'],
                'constraints': [models.CheckConstraint(condition=models.Q(('person', models.F('starter')), _negated=True), name='nobody_reviews_their_own_broken_glass')],
            },
        ),
        migrations.CreateModel(
            name='Notice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('text', models.TextField()),
                ('at', models.DateTimeField()),
                ('acknowledged_at', models.DateTimeField(blank=True, null=True)),
                ('person', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='portal_notices', to=settings.AUTH_USER_MODEL)),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='notices', to='migrations_audit.migrationrun')),
            ],
            options={
                'ordering': ['-at', '-id'],
                'constraints': [models.UniqueConstraint(fields=('person', 'run'), name='one_notice_per_person_and_run')],
            },
        ),
        migrations.CreateModel(
            name='PolicyProposal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('policy', 'the policy of'), ('membership', 'a membership in'), ('account', 'another approver in')], default='policy', max_length=10)),
                ('before', models.JSONField()),
                ('after', models.JSONField()),
                ('values', models.JSONField()),
                ('seen_version', models.PositiveIntegerField(help_text='The version of the settings that it would change.')),
                ('proposed_by_name', models.CharField(max_length=150)),
                ('proposed_at', models.DateTimeField()),
                ('decided_by_name', models.CharField(blank=True, max_length=150)),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('decision', models.CharField(blank=True, choices=[('', 'open'), ('confirmed', 'confirmed'), ('declined', 'declined')], max_length=10)),
                ('reason', models.TextField(blank=True)),
                ('account', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('environment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='proposals', to='migrations_audit.environment')),
                ('membership', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='proposals', to='migrations_audit.membership')),
                ('proposed_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['proposed_at', 'id'],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('decision', 'confirmed'), _negated=True), models.Q(('decided_by__isnull', False), models.Q(('decided_by', models.F('proposed_by')), _negated=True)), _connector='OR'), name='a_second_person_confirms'), models.UniqueConstraint(condition=models.Q(('decision', ''), ('kind', 'policy')), fields=('environment',), name='one_open_policy_proposal')],
            },
        ),
        migrations.RunSQL(AFTER),
        migrations.RunSQL(GLASS),
    ]
