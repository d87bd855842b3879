"""Windows, freezes, schedules; and one more legal move, from queued back to approved.

The move is for a run that a worker finds queued when its window has closed, or when the portal was frozen meanwhile: nothing of it has
run, and its approvals still hold. The trigger's function is that of 0002 with this line more.
"""

from importlib import import_module

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

guards = import_module("migrations_audit.migrations.0002_guards")

BEFORE = guards.RUN.partition("CREATE TRIGGER")[0].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
AFTER = BEFORE.replace("        ('queued', 'cancelled'),", "        ('queued', 'approved'),\n        ('queued', 'cancelled'),")


class Migration(migrations.Migration):

    dependencies = [
        ('migrations_audit', '0005_runbook'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Freeze',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reason', models.TextField()),
                ('by_name', models.CharField(max_length=150)),
                ('at', models.DateTimeField()),
                ('until', models.DateTimeField(blank=True, help_text='Empty: until somebody ends it.', null=True)),
                ('is_open', models.BooleanField(default=True, help_text='Nobody has ended it. One at a time is.')),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('ended_by_name', models.CharField(blank=True, max_length=150)),
                ('end_reason', models.TextField(blank=True)),
            ],
            options={
                'ordering': ['-at', '-pk'],
            },
        ),
        migrations.CreateModel(
            name='Window',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('allow', 'runs may start'), ('deny', 'runs may not start')], max_length=10)),
                ('cron', models.CharField(help_text='A cron line: minute, hour, day of the month, month, day of the week.', max_length=100, verbose_name='opens at')),
                ('duration_minutes', models.PositiveIntegerField(validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(44640)], verbose_name='lasts for (minutes)')),
                ('time_zone', models.CharField(default='UTC', help_text='As the IANA names it, like Europe/Zurich.', max_length=60)),
                ('description', models.CharField(blank=True, max_length=100)),
                ('overrun', models.BooleanField(default=True, help_text='A run may start inside although its deadline lies outside. Without it a run starts only if even its deadline is inside the window, or before one in which runs may not start.', verbose_name='overrun allowed')),
            ],
            options={
                'ordering': ['environment', 'kind', 'pk'],
            },
        ),
        migrations.AddField(
            model_name='migrationrun',
            name='scheduled_as',
            field=models.JSONField(blank=True, help_text='Who scheduled it, and starts it then.', null=True),
        ),
        migrations.AddField(
            model_name='migrationrun',
            name='scheduled_at',
            field=models.DateTimeField(blank=True, help_text='When the sweep is to start it.', null=True),
        ),
        migrations.AddIndex(
            model_name='migrationrun',
            index=models.Index(condition=models.Q(('scheduled_at__isnull', False)), fields=['scheduled_at'], name='run_scheduled'),
        ),
        migrations.AddConstraint(
            model_name='migrationrun',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('scheduled_as__isnull', True), ('scheduled_at__isnull', True)), models.Q(('scheduled_as__isnull', False), ('scheduled_at__isnull', False), ('state', 'approved')), _connector='OR'), name='only_an_approved_run_is_scheduled'),
        ),
        migrations.AddField(
            model_name='freeze',
            name='by',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='window',
            name='environment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='windows', to='migrations_audit.environment'),
        ),
        migrations.AddConstraint(
            model_name='freeze',
            constraint=models.UniqueConstraint(condition=models.Q(('is_open', True)), fields=('is_open',), name='one_freeze_at_a_time'),
        ),
        migrations.AddConstraint(
            model_name='freeze',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('ended_at__isnull', True), ('is_open', True)), models.Q(('ended_at__isnull', False), ('is_open', False)), _connector='OR'), name='a_freeze_is_open_until_it_is_ended'),
        ),
        migrations.AddConstraint(
            model_name='freeze',
            constraint=models.CheckConstraint(condition=models.Q(('until__isnull', True), ('until__gt', models.F('at')), _connector='OR'), name='a_freeze_ends_after_it_begins'),
        ),
        migrations.AddConstraint(
            model_name='window',
            constraint=models.CheckConstraint(condition=models.Q(('duration_minutes__gte', 1), ('duration_minutes__lte', 44640)), name='a_window_has_a_length'),
        ),
        migrations.AddConstraint(
            model_name='window',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['allow', 'deny'])), name='a_window_allows_or_denies'),
        ),
        migrations.RunSQL(AFTER, BEFORE),
    ]
