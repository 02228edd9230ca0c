-- insert: -> nothing
INSERT INTO api_key (id, workspace_id, site_id, label, prefix, environment, secret_sha256, last_four, scopes,
                     created_at, expires_at, rate_limit_per_minute)
VALUES (%(id)s, %(workspace_id)s, %(site_id)s, %(label)s, %(prefix)s, %(environment)s, %(secret_sha256)s, %(last_four)s,
        %(scopes)s, %(created_at)s, %(expires_at)s, %(rate_limit_per_minute)s);

-- list_all: a workspace's keys, newest first, revoked ones too. -> ApiKey rows
SELECT id, workspace_id, site_id, label, prefix, environment, secret_sha256, last_four, scopes, created_at, expires_at,
       revoked_at, rate_limit_per_minute
  FROM api_key WHERE workspace_id = %(workspace_id)s ORDER BY id DESC;

-- usable: keys of some workspaces that are not revoked yet. -> ApiKey rows
SELECT id, workspace_id, site_id, label, prefix, environment, secret_sha256, last_four, scopes, created_at, expires_at,
       revoked_at, rate_limit_per_minute
  FROM api_key
 WHERE workspace_id = ANY (%(workspace_ids)s::uuid[]) AND (revoked_at IS NULL OR revoked_at > now());

-- workspaces_of: where keys unknown to a process belong. -> workspace_id
SELECT DISTINCT workspace_id FROM api_key WHERE secret_sha256 = ANY (%(secrets)s::bytea[]);

-- read: -> ApiKey row
SELECT id, workspace_id, site_id, label, prefix, environment, secret_sha256, last_four, scopes, created_at, expires_at,
       revoked_at, rate_limit_per_minute
  FROM api_key WHERE workspace_id = %(workspace_id)s AND id = %(id)s;

-- revoke: after %(grace)s by the database's clock, by which `usable` judges too; an earlier moment stays.
-- -> id where there is such a key
UPDATE api_key k SET revoked_at = LEAST(k.revoked_at, now() + %(grace)s)
 WHERE k.workspace_id = %(workspace_id)s AND k.id = %(id)s RETURNING k.id;

-- file_usage: what one process counted of some keys in an hour; its own rows, written over. -> nothing
INSERT INTO key_usage AS t (bucket, key_id, writer, hour, calls, errors, last_used_at, address)
SELECT k.bucket, u.key_id, %(writer)s, %(hour)s, u.calls, u.errors, u.last_used_at, u.address
  FROM bucket k
  JOIN unnest(%(buckets)s::int[], %(key_ids)s::uuid[], %(calls)s::bigint[], %(errors)s::bigint[],
              %(last_used_at)s::timestamptz[], %(addresses)s::text[])
              u (bucket, key_id, calls, errors, last_used_at, address) ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(buckets)s::int[])
ON CONFLICT (bucket, key_id, hour, writer) DO UPDATE SET calls = excluded.calls, errors = excluded.errors,
      last_used_at = excluded.last_used_at, address = excluded.address;

-- usage: calls of some keys in the hours after %(since)s, and when and where from each was last used. -> Usage rows
SELECT t.key_id, COALESCE(sum(t.calls) FILTER (WHERE t.hour > %(since)s), 0)::bigint,
       COALESCE(sum(t.errors) FILTER (WHERE t.hour > %(since)s), 0)::bigint, max(t.last_used_at),
       (array_agg(t.address ORDER BY t.last_used_at DESC))[1]
  FROM key_usage t
 WHERE t.bucket = ANY (%(buckets)s::int[]) AND t.key_id = ANY (%(key_ids)s::uuid[])
 GROUP BY t.key_id;

-- trim_usage: hours before %(oldest)s of keys that were used later. -> nothing
DELETE FROM key_usage t
 WHERE t.bucket = ANY (%(buckets)s::int[]) AND t.hour < %(oldest)s
   AND EXISTS (SELECT FROM key_usage n WHERE n.bucket = t.bucket AND n.key_id = t.key_id AND n.hour > t.hour);
