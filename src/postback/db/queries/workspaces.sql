-- insert_installation: once for a database. -> id where it was new
INSERT INTO installation AS i (id, environment, seal_check, link_key, created_at)
VALUES (1, %(environment)s, %(seal_check)s, %(link_key)s, %(now)s)
ON CONFLICT DO NOTHING RETURNING i.id;

-- read_installation: -> environment, seal_check, link_key
SELECT environment, seal_check, link_key FROM installation WHERE id = 1;

-- insert_workspace: -> nothing
INSERT INTO workspace (id, name, organization_id, created_at) VALUES (%(id)s, %(name)s, %(organization_id)s, %(now)s);

-- insert_versions: the version rows of a new workspace, one in each bucket. -> nothing
INSERT INTO config_version AS v (bucket, workspace_id, version)
SELECT k.bucket, %(workspace_id)s::uuid, 1 FROM bucket k WHERE k.bucket = ANY (%(buckets)s::int[]);

-- bump: say that a workspace's keys, sites or destinations changed; waits for the flushes under way. -> nothing
UPDATE config_version v SET version = v.version + 1
 WHERE v.bucket = ANY (%(buckets)s::int[]) AND v.workspace_id = %(workspace_id)s;

-- hold: the one row whose holder may change a workspace's configuration. -> version
SELECT v.version FROM config_version v
 WHERE v.bucket = %(bucket)s AND v.workspace_id = %(workspace_id)s
   FOR NO KEY UPDATE;

-- versions_for_share: versions of some workspaces in one bucket, held to the end of the transaction; and the time.
-- -> workspace_id, version, clock
SELECT v.workspace_id, v.version, clock_timestamp()
  FROM config_version v
 WHERE v.bucket = %(bucket)s AND v.workspace_id = ANY (%(workspace_ids)s::uuid[])
   FOR SHARE;

-- require_versions: as above; a version that is not the expected one ends the transaction (division by zero).
-- -> workspace_id, version, clock, 1
SELECT v.workspace_id, v.version, clock_timestamp(), 1 / (v.version = u.version)::int
  FROM config_version v JOIN unnest(%(workspace_ids)s::uuid[], %(versions)s::bigint[]) u (workspace_id, version)
    ON v.workspace_id = u.workspace_id
 WHERE v.bucket = %(bucket)s
   FOR SHARE OF v;

-- versions: without a lock, for what writes nothing. -> workspace_id, version
SELECT v.workspace_id, v.version
  FROM config_version v
 WHERE v.bucket = %(bucket)s AND v.workspace_id = ANY (%(workspace_ids)s::uuid[]);

-- list_workspaces: oldest first. -> Workspace rows
SELECT id, name, organization_id, plan_id, erased_at FROM workspace ORDER BY created_at, id;

-- read_workspaces: -> Workspace rows
SELECT id, name, organization_id, plan_id, erased_at FROM workspace WHERE id = ANY (%(ids)s::uuid[]);

-- rename_workspace: -> nothing
UPDATE workspace SET name = %(name)s WHERE id = %(id)s;

-- set_plan: -> nothing
UPDATE workspace w SET plan_id = %(plan_id)s WHERE w.id = %(id)s;

-- mark_erased: when somebody of a workspace was last erased. -> nothing
UPDATE workspace w SET erased_at = GREATEST(w.erased_at, %(at)s) WHERE w.id = %(id)s;

-- insert_site: -> id, unless its key is taken
INSERT INTO site AS s (id, workspace_id, name, site_key, country, currency, timezone, window_days, order_counts_from,
                       allowed_origins, plan_id, link_domains, payment_referrers, created_at)
VALUES (%(id)s, %(workspace_id)s, %(name)s, %(site_key)s, %(country)s, %(currency)s, %(timezone)s, %(window_days)s,
        %(order_counts_from)s, %(allowed_origins)s, %(plan_id)s, %(link_domains)s, %(payment_referrers)s, %(now)s)
ON CONFLICT (site_key) DO NOTHING RETURNING s.id;

-- read_sites: of some workspaces, oldest first; with_removed: those too that were removed. -> Site rows
SELECT id, workspace_id, name, site_key, country, currency, timezone, window_days, order_counts_from, allowed_origins,
       plan_id, link_domains, payment_referrers
  FROM site
 WHERE workspace_id = ANY (%(workspace_ids)s::uuid[]) AND (removed_at IS NULL OR %(with_removed)s)
 ORDER BY created_at, id;

-- sites_by_key: the workspaces of some public site keys. -> site_key, workspace_id
SELECT site_key, workspace_id FROM site WHERE site_key = ANY (%(site_keys)s::text[]) AND removed_at IS NULL;

-- update_site: -> nothing
UPDATE site s SET name = %(name)s, country = %(country)s, currency = %(currency)s, timezone = %(timezone)s,
                  window_days = %(window_days)s, order_counts_from = %(order_counts_from)s,
                  allowed_origins = %(allowed_origins)s, plan_id = %(plan_id)s, link_domains = %(link_domains)s,
                  payment_referrers = %(payment_referrers)s
 WHERE s.workspace_id = %(workspace_id)s AND s.id = %(id)s;

-- give_site_key: -> id, unless another has the key
UPDATE site s SET site_key = %(site_key)s
 WHERE s.workspace_id = %(workspace_id)s AND s.id = %(id)s
   AND NOT EXISTS (SELECT FROM site o WHERE o.site_key = %(site_key)s AND o.id <> %(id)s)
RETURNING s.id;

-- remove_site: -> nothing
UPDATE site s SET removed_at = %(now)s, plan_id = NULL WHERE s.workspace_id = %(workspace_id)s AND s.id = %(id)s;
