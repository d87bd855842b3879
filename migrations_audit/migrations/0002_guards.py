"""What must always be true, said by the database itself: append-only tables, the audit chain, the legal moves of a run.

tests/domain/test_database_guards.py compares the moves below with ``migrations_audit.states.MOVES``.
"""

from __future__ import annotations

from django.db import migrations

APPEND_ONLY = ("auditevent", "observation", "evidence", "catalog", "snapshot", "plan", "logline")
NEVER_EMPTIED = (*APPEND_ONLY, "migrationrun", "approval")

REFUSE = """
CREATE FUNCTION migrations_audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: these rows are a record', TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
"""

CHAIN = r"""
CREATE FUNCTION migrations_audit_check_link() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last_seq bigint;
    last_hash text;
BEGIN
    SELECT seq, hash INTO last_seq, last_hash FROM migrations_audit_auditevent ORDER BY seq DESC LIMIT 1;
    IF NEW.seq <> coalesce(last_seq, 0) + 1 OR NEW.previous_hash <> coalesce(last_hash, repeat('0', 64)) THEN
        RAISE EXCEPTION 'audit event % does not follow the chain', NEW.seq USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.body_digest <> encode(sha256(convert_to(NEW.body, 'UTF8')), 'hex')
       OR NEW.hash <> encode(sha256(convert_to(NEW.previous_hash || E'\n' || NEW.body_digest, 'UTF8')), 'hex') THEN
        RAISE EXCEPTION 'audit event % does not hash to what it claims', NEW.seq USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER auditevent_check_link BEFORE INSERT ON migrations_audit_auditevent
    FOR EACH ROW EXECUTE FUNCTION migrations_audit_check_link();
"""

MOVES = """
        ('approved', 'awaiting_approval'),
        ('approved', 'expired'),
        ('approved', 'queued'),
        ('approved', 'rejected'),
        ('approved', 'void'),
        ('approved', 'withdrawn'),
        ('awaiting_approval', 'approved'),
        ('awaiting_approval', 'expired'),
        ('awaiting_approval', 'rejected'),
        ('awaiting_approval', 'void'),
        ('awaiting_approval', 'withdrawn'),
        ('outcome_unknown', 'applied'),
        ('outcome_unknown', 'cancelled'),
        ('outcome_unknown', 'closed'),
        ('outcome_unknown', 'error'),
        ('outcome_unknown', 'failed'),
        ('planning', 'awaiting_approval'),
        ('planning', 'plan_failed'),
        ('planning', 'withdrawn'),
        ('queued', 'cancelled'),
        ('queued', 'refused'),
        ('queued', 'running'),
        ('queued', 'void'),
        ('requested', 'planning'),
        ('requested', 'withdrawn'),
        ('running', 'applied'),
        ('running', 'cancelled'),
        ('running', 'error'),
        ('running', 'failed'),
        ('running', 'outcome_unknown'),
        ('running', 'refused'),
        ('running', 'void')
"""

RUN = """
CREATE FUNCTION migrations_audit_check_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'requested' OR NEW.verdict <> 'unverified' OR NEW.epoch <> 0 OR NEW.plan_id IS NOT NULL THEN
            RAISE EXCEPTION 'a run begins as requested' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.state NOT IN (SELECT source FROM (VALUES
{moves}
    ) AS moves (source, destination)) THEN
        RAISE EXCEPTION 'run % has ended as %; it does not change', OLD.number, OLD.state USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (VALUES
{moves}
    ) THEN
        RAISE EXCEPTION 'run % cannot go from % to %', OLD.number, OLD.state, NEW.state USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (OLD.number, OLD.target_id, OLD.operation, OLD.requested, OLD.requester_id, OLD.requester_name, OLD.reason, OLD.ticket, OLD.requested_at, OLD.request_key,
        OLD.request_digest)
       IS DISTINCT FROM
       (NEW.number, NEW.target_id, NEW.operation, NEW.requested, NEW.requester_id, NEW.requester_name, NEW.reason, NEW.ticket, NEW.requested_at, NEW.request_key,
        NEW.request_digest)
       OR NEW.rolls_back_id IS DISTINCT FROM OLD.rolls_back_id
       OR (OLD.plan_id IS NOT NULL AND NEW.plan_id IS DISTINCT FROM OLD.plan_id)
       OR NEW.epoch < OLD.epoch THEN
        RAISE EXCEPTION 'run %: what was requested does not change', OLD.number USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.verdict <> 'unverified' AND NEW.state NOT IN ('applied', 'failed') THEN
        RAISE EXCEPTION 'run %: no verdict in state %', OLD.number, NEW.state USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- Evidence of the reading that the verdict names: an earlier reading may have failed before the outcome was reconciled.
    IF NEW.verdict = 'verified' AND (
        NEW.state <> 'applied'
        OR NOT EXISTS (SELECT 1 FROM migrations_audit_observation WHERE id = NEW.verified_by_id AND run_id = NEW.number)
        OR NOT EXISTS (
            SELECT 1 FROM migrations_audit_evidence
            WHERE run_id = NEW.number AND observation_id = NEW.verified_by_id AND outcome = 'passed'
        )
        OR EXISTS (
            SELECT 1 FROM migrations_audit_evidence
            WHERE run_id = NEW.number AND observation_id = NEW.verified_by_id AND outcome IN ('failed', 'could_not_run')
        )
    ) THEN
        RAISE EXCEPTION 'run %: verified needs evidence of its own reading that passed', OLD.number
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER migrationrun_check BEFORE INSERT OR UPDATE ON migrations_audit_migrationrun
    FOR EACH ROW EXECUTE FUNCTION migrations_audit_check_run();
CREATE TRIGGER migrationrun_keep BEFORE DELETE ON migrations_audit_migrationrun
    FOR EACH ROW EXECUTE FUNCTION migrations_audit_refuse_change();
""".replace("{moves}", MOVES.strip("\n"))

APPROVAL = """
CREATE FUNCTION migrations_audit_check_approval() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NOT EXISTS (
            SELECT 1 FROM migrations_audit_migrationrun run JOIN migrations_audit_plan plan ON plan.id = run.plan_id
            WHERE run.number = NEW.run_id AND run.requester_id = NEW.requester_id AND plan.id = NEW.plan_id
              AND plan.digest = NEW.plan_digest AND run.state IN ('awaiting_approval', 'approved')
        ) OR NEW.withdrawn_at IS NOT NULL THEN
            RAISE EXCEPTION 'a decision belongs to a run that awaits it and names its plan and requester'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF OLD.withdrawn_at IS NOT NULL OR to_jsonb(NEW) - 'withdrawn_at' <> to_jsonb(OLD) - 'withdrawn_at' THEN
        RAISE EXCEPTION 'a decision is withdrawn once and otherwise does not change' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER approval_check BEFORE INSERT OR UPDATE ON migrations_audit_approval
    FOR EACH ROW EXECUTE FUNCTION migrations_audit_check_approval();
CREATE TRIGGER approval_keep BEFORE DELETE ON migrations_audit_approval
    FOR EACH ROW EXECUTE FUNCTION migrations_audit_refuse_change();
"""


def append_only() -> str:
    statements = [
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON migrations_audit_{table} "
        "FOR EACH ROW EXECUTE FUNCTION migrations_audit_refuse_change();"
        for table in APPEND_ONLY
    ]
    statements += [
        f"CREATE TRIGGER {table}_never_emptied BEFORE TRUNCATE ON migrations_audit_{table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION migrations_audit_refuse_change();"
        for table in NEVER_EMPTIED
    ]
    return "\n".join(statements)


class Migration(migrations.Migration):
    dependencies = [("migrations_audit", "0001_portal")]

    operations = [migrations.RunSQL(sql) for sql in (REFUSE, append_only(), CHAIN, RUN, APPROVAL)]
