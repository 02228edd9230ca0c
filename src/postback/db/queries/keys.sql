-- insert: -> nothing
INSERT INTO api_key (id, workspace_id, site_id, label, prefix, environment, secret_sha256, last_four, scopes,
                     created_at, expires_at)
VALUES (%(id)s, %(workspace_id)s, %(site_id)s, %(label)s, %(prefix)s, %(environment)s, %(secret_sha256)s, %(last_four)s,
        %(scopes)s, %(created_at)s, %(expires_at)s);

-- list_all: a workspace's keys, newest first, revoked ones too. -> ApiKey rows
SELECT id, workspace_id, site_id, label, prefix, environment, secret_sha256, last_four, scopes, created_at, expires_at,
       revoked_at
  FROM api_key WHERE workspace_id = %(workspace_id)s ORDER BY id DESC;

-- usable: keys of some workspaces that are not revoked yet. -> ApiKey rows
SELECT id, workspace_id, site_id, label, prefix, environment, secret_sha256, last_four, scopes, created_at, expires_at,
       revoked_at
  FROM api_key
 WHERE workspace_id = ANY (%(workspace_ids)s::uuid[]) AND (revoked_at IS NULL OR revoked_at > now());

-- workspaces_of: where keys unknown to a process belong. -> workspace_id
SELECT DISTINCT workspace_id FROM api_key WHERE secret_sha256 = ANY (%(secrets)s::bytea[]);

-- read: -> ApiKey row
SELECT id, workspace_id, site_id, label, prefix, environment, secret_sha256, last_four, scopes, created_at, expires_at,
       revoked_at
  FROM api_key WHERE workspace_id = %(workspace_id)s AND id = %(id)s;

-- revoke: after %(grace)s by the database's clock, by which `usable` judges too; an earlier moment stays.
-- -> id where there is such a key
UPDATE api_key k SET revoked_at = LEAST(k.revoked_at, now() + %(grace)s)
 WHERE k.workspace_id = %(workspace_id)s AND k.id = %(id)s RETURNING k.id;
