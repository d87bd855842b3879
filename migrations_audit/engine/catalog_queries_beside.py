"""The questions about what stands beside tables: who listens to them, publishes them, reaches other servers or converts types.

As those of ``catalog_queries``, and asked together with them. PostgreSQL 13 to 18.
"""

from __future__ import annotations

from typing import Final

from migrations_audit.engine import catalog_queries
from migrations_audit.engine.catalog_queries import query

EVENT_TRIGGERS: Final = query(
    """
    SELECT format('event trigger %I', e.evtname),
           concat_ws(' ', 'on ' || e.evtevent,
               'when tag in (' || (SELECT string_agg(t, ', ' ORDER BY t) FROM unnest(e.evttags) t) || ')',
               'execute ' || e.evtfoid::regproc,
               CASE e.evtenabled WHEN 'O' THEN NULL WHEN 'D' THEN '(disabled)' WHEN 'R' THEN '(replica)' ELSE '(always)' END),
           ''
      FROM pg_event_trigger e
     WHERE NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e')
"""
)

STATISTICS: Final = query(
    """
    SELECT format('statistics %I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid), ''
      FROM pg_statistic_ext s
      JOIN pg_namespace n ON n.oid = s.stxnamespace
     WHERE {own_schema}
"""
)

# Which tables it names is not told: whoever drops one of them changes that too, and no copy has publications.
PUBLICATIONS: Final = query(
    """
    SELECT format('publication %I', p.pubname),
           concat_ws(', ', CASE WHEN p.puballtables THEN 'all tables' ELSE 'some tables' END,
               CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
               CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END,
               CASE WHEN p.pubviaroot THEN 'via partition root' END),
           ''
      FROM pg_publication p
"""
)

# Of its options only names and a digest: somebody may have put a password there.
SERVERS: Final = query(
    """
    SELECT format('server %I', s.srvname),
           concat_ws(', ', 'wrapper ' || quote_ident(w.fdwname), 'type ' || quote_literal(s.srvtype),
               'version ' || quote_literal(s.srvversion),
               (SELECT format('options %s, sha256 %s', string_agg(split_part(o, '=', 1), ' ' ORDER BY o),
                              encode(sha256(convert_to(string_agg(quote_literal(o), ',' ORDER BY o), 'UTF8')), 'hex'))
                  FROM unnest(s.srvoptions) o HAVING count(*) > 0)),
           ''
      FROM pg_foreign_server s
      JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
     WHERE NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_foreign_server'::regclass AND d.objid = s.oid AND d.deptype = 'e')
"""
)

# The oids below are the system's own.
CASTS: Final = query(
    """
    SELECT format('cast (%s as %s)', format_type(k.castsource, NULL), format_type(k.casttarget, NULL)),
           concat_ws(', ',
               CASE k.castmethod WHEN 'f' THEN 'function ' || k.castfunc::regprocedure
                                 WHEN 'i' THEN 'by input and output' ELSE 'without conversion' END,
               CASE k.castcontext WHEN 'i' THEN 'implicit' WHEN 'a' THEN 'in assignments' ELSE 'explicit' END),
           ''
      FROM pg_cast k
     WHERE k.oid >= 16384
       AND NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_cast'::regclass AND d.objid = k.oid AND d.deptype = 'e')
"""
)

# The column with an ICU locale has another name in each version.
COLLATIONS: Final = query(
    """
    SELECT format('collation %I.%I', n.nspname, l.collname),
           concat_ws(', ', 'provider ' || l.collprovider::text, 'collate ' || l.collcollate, 'ctype ' || l.collctype,
               'locale ' || coalesce(to_jsonb(l) ->> 'colllocale', to_jsonb(l) ->> 'colliculocale'),
               'rules ' || (to_jsonb(l) ->> 'collicurules'),
               CASE WHEN NOT l.collisdeterministic THEN 'not deterministic' END),
           ''
      FROM pg_collation l
      JOIN pg_namespace n ON n.oid = l.collnamespace
     WHERE {own_schema}
       AND NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_collation'::regclass AND d.objid = l.oid AND d.deptype = 'e')
"""
)

PLAIN: Final = (
    *catalog_queries.PLAIN,
    EVENT_TRIGGERS,
    STATISTICS,
    PUBLICATIONS,
    SERVERS,
    CASTS,
    COLLATIONS,
)
"""All queries whose third column says nothing."""
