-- insert: -> nothing
INSERT INTO destination (id, workspace_id, connector, variant, name, config, delivery_mode, created_at)
VALUES (%(id)s, %(workspace_id)s, %(connector)s, %(variant)s, %(name)s, %(config)s, 'server_side', %(now)s);

-- insert_lane: the changing state of a new destination, in its home bucket. -> nothing
INSERT INTO lane AS l (bucket, destination_id, workspace_id, changed_at)
SELECT k.bucket, %(id)s, %(workspace_id)s, %(now)s FROM bucket k WHERE k.bucket = %(bucket)s;

-- of_workspaces: installed ones, oldest first. -> Stored rows
SELECT d.id, d.workspace_id, d.connector, d.variant, d.name, d.config, d.created_at, d.removed_at,
       b.body::text AS blueprint, COALESCE(b.version, 0) AS blueprint_version
  FROM destination d
  LEFT JOIN LATERAL (SELECT v.version, v.body FROM blueprint v WHERE v.destination_id = d.id
                      ORDER BY v.version DESC LIMIT 1) b ON true
 WHERE d.workspace_id = ANY (%(workspace_ids)s::uuid[]) AND d.removed_at IS NULL ORDER BY d.created_at, d.id;

-- all_sendable: every destination that may have open deliveries, removed ones too. -> Stored rows
SELECT d.id, d.workspace_id, d.connector, d.variant, d.name, d.config, d.created_at, d.removed_at,
       b.body::text AS blueprint, COALESCE(b.version, 0) AS blueprint_version
  FROM destination d
  LEFT JOIN LATERAL (SELECT v.version, v.body FROM blueprint v WHERE v.destination_id = d.id
                      ORDER BY v.version DESC LIMIT 1) b ON true
 ORDER BY d.created_at, d.id;

-- read: -> Stored row
SELECT d.id, d.workspace_id, d.connector, d.variant, d.name, d.config, d.created_at, d.removed_at,
       b.body::text AS blueprint, COALESCE(b.version, 0) AS blueprint_version
  FROM destination d
  LEFT JOIN LATERAL (SELECT v.version, v.body FROM blueprint v WHERE v.destination_id = d.id
                      ORDER BY v.version DESC LIMIT 1) b ON true
 WHERE d.workspace_id = %(workspace_id)s AND d.id = %(id)s AND d.removed_at IS NULL;

-- update: -> nothing
UPDATE destination d SET name = %(name)s, config = %(config)s WHERE d.workspace_id = %(workspace_id)s AND d.id = %(id)s;

-- remove: -> id where there was one
UPDATE destination d SET removed_at = %(now)s
 WHERE d.workspace_id = %(workspace_id)s AND d.id = %(id)s AND d.removed_at IS NULL RETURNING d.id;

-- lanes: the state of every lane of some home buckets. -> Lane rows
SELECT l.destination_id, l.state, l.reason, l.fix, l.rate, l.not_before, l.changed_at, l.down_since, l.down_at, l.down_reason
  FROM lane l WHERE l.bucket = ANY (%(buckets)s::int[]);

-- set_state: from one of the states that may lead there. -> destination_id where it changed
UPDATE lane l SET state = %(state)s, reason = %(reason)s, fix = %(fix)s, changed_at = %(now)s, not_before = NULL
 WHERE l.bucket = %(bucket)s AND l.destination_id = %(id)s AND l.state = ANY (%(from_states)s::text[])
RETURNING l.destination_id;

-- teach: what a platform's 429 taught. -> nothing
UPDATE lane l SET rate = %(rate)s, not_before = GREATEST(l.not_before, %(not_before)s), changed_at = %(now)s
 WHERE l.bucket = %(bucket)s AND l.destination_id = %(id)s;

-- went_down: a platform cannot be reached since then, or earlier. -> nothing
UPDATE lane l SET down_since = COALESCE(l.down_since, %(now)s), down_at = %(now)s, down_reason = %(reason)s
 WHERE l.bucket = %(bucket)s AND l.destination_id = %(id)s;

-- came_back: it answers. -> nothing
UPDATE lane l SET down_since = NULL, down_at = NULL, down_reason = NULL
 WHERE l.bucket = %(bucket)s AND l.destination_id = %(id)s;

-- labels: what a workspace ever installed, removed ones too. -> Label rows
SELECT id, connector, name, removed_at FROM destination WHERE workspace_id = %(workspace_id)s ORDER BY id;

-- installed: what is installed in every workspace. -> Label rows
SELECT id, connector, name, removed_at FROM destination WHERE removed_at IS NULL ORDER BY id;

-- token: the access token kept for a destination, if it was had with this credential. -> Row
SELECT o.sealed, o.renew_at, o.expires_at, o.claimed_by, o.claimed_until FROM oauth_token o
 WHERE o.bucket = %(bucket)s AND o.destination_id = %(id)s AND o.credential = %(credential)s;

-- claim_token: the right to have the token after %(instead_of)s. -> destination_id where nobody else has it
INSERT INTO oauth_token AS o (bucket, destination_id, credential, claimed_by, claimed_until)
SELECT k.bucket, %(id)s, %(credential)s, %(claimer)s, %(until)s FROM bucket k WHERE k.bucket = %(bucket)s
ON CONFLICT (bucket, destination_id) DO UPDATE
   SET credential = excluded.credential, claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until,
       sealed = CASE WHEN o.credential = excluded.credential THEN o.sealed END,
       renew_at = CASE WHEN o.credential = excluded.credential THEN o.renew_at END,
       expires_at = CASE WHEN o.credential = excluded.credential THEN o.expires_at END
 WHERE o.credential <> excluded.credential
    OR (o.sealed IS NOT DISTINCT FROM %(instead_of)s AND COALESCE(o.claimed_until <= %(now)s, true))
RETURNING o.destination_id;

-- keep_token: what whoever claimed it was given. -> nothing
UPDATE oauth_token o SET sealed = %(sealed)s, renew_at = %(renew_at)s, expires_at = %(expires_at)s,
       claimed_by = NULL, claimed_until = NULL
 WHERE o.bucket = %(bucket)s AND o.destination_id = %(id)s
   AND o.credential = %(credential)s AND o.claimed_by = %(claimer)s;

-- postpone_token: whoever claimed it was given none; nobody asks before %(until)s. -> nothing
UPDATE oauth_token o SET claimed_by = NULL, claimed_until = %(until)s
 WHERE o.bucket = %(bucket)s AND o.destination_id = %(id)s
   AND o.credential = %(credential)s AND o.claimed_by = %(claimer)s;

-- drop_token: -> nothing
DELETE FROM oauth_token o WHERE o.bucket = %(bucket)s AND o.destination_id = %(id)s;

-- insert_blueprint: the next version of a destination's. -> its number
INSERT INTO blueprint (destination_id, version, body, created_at, created_by)
SELECT %(id)s, COALESCE(max(v.version), 0) + 1, %(body)s::jsonb, %(now)s, %(created_by)s
  FROM blueprint v WHERE v.destination_id = %(id)s
RETURNING version;

-- blueprints: versions of a destination's below one, newest first. -> version, body, created_at, created_by
SELECT v.version, v.body::text, v.created_at, v.created_by FROM blueprint v
 WHERE v.destination_id = %(id)s AND v.version < %(below)s ORDER BY v.version DESC LIMIT %(limit)s;
