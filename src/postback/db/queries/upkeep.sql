-- position: how far a task came in a bucket. -> position, done_at
SELECT u.position, u.done_at FROM upkeep u WHERE u.bucket = %(bucket)s AND u.task = %(task)s;

-- done: how many of some tasks came to their end, over the buckets. -> n
SELECT count(*) FROM upkeep u
 WHERE u.bucket = ANY (%(buckets)s::int[]) AND u.task = ANY (%(tasks)s::text[]) AND u.done_at IS NOT NULL;

-- move: say how far a task came. -> nothing
INSERT INTO upkeep AS u (bucket, task, position, done_at)
SELECT k.bucket, %(task)s, %(position)s, %(done_at)s::timestamptz FROM bucket k WHERE k.bucket = %(bucket)s
ON CONFLICT (bucket, task) DO UPDATE SET position = excluded.position, done_at = excluded.done_at;

-- sealed_events: the next events of a bucket, in the order of their ids. -> id, sealed
SELECT t.id, t.sealed FROM event t
 WHERE t.bucket = %(bucket)s AND t.id BETWEEN %(min_id)s AND %(max_id)s ORDER BY t.id LIMIT %(limit)s;

-- reseal_events: another seal around the same, where it is the same still. -> nothing
UPDATE event e SET sealed = u.sealed
  FROM unnest(%(ids)s::uuid[], %(olds)s::bytea[], %(sealed)s::bytea[]) u (id, old, sealed)
 WHERE e.bucket = %(bucket)s AND e.id = u.id AND e.id BETWEEN %(min_id)s AND %(max_id)s AND e.sealed = u.old;

-- unseal_events: sealed personal data whose time is over goes; a page of a bucket, in the order of ids. -> nothing
UPDATE event e SET sealed = NULL
 WHERE e.bucket = %(bucket)s AND e.id BETWEEN %(min_id)s AND %(max_id)s AND e.sealed IS NOT NULL;

-- sealed_visitors: the next visitors of a bucket, in the order of their keys. -> key, sealed, device
SELECT v.key, v.sealed, v.device FROM visitor v
 WHERE v.bucket = %(bucket)s AND v.key > %(after)s ORDER BY v.key LIMIT %(limit)s;

-- reseal_visitors: -> nothing
UPDATE visitor v SET sealed = u.sealed
  FROM unnest(%(ids)s::uuid[], %(olds)s::bytea[], %(sealed)s::bytea[]) u (key, old, sealed)
 WHERE v.bucket = %(bucket)s AND v.key = u.key AND v.sealed = u.old;

-- reseal_devices: -> nothing
UPDATE visitor v SET device = u.sealed
  FROM unnest(%(ids)s::uuid[], %(olds)s::bytea[], %(sealed)s::bytea[]) u (key, old, sealed)
 WHERE v.bucket = %(bucket)s AND v.key = u.key AND v.device = u.old;

-- unseal_visitors: what was said of visitors long ago, in the order of their keys. -> key
UPDATE visitor v
   SET sealed = CASE WHEN COALESCE(v.sealed_at, v.last_seen_at) >= %(oldest)s THEN v.sealed END,
       device = CASE WHEN COALESCE(v.device_at, v.last_seen_at) >= %(oldest)s THEN v.device END
 WHERE v.bucket = %(bucket)s
   AND v.key = ANY (ARRAY(SELECT o.key FROM visitor o
                           WHERE o.bucket = %(bucket)s AND o.key > %(after)s
                             AND ((o.sealed IS NOT NULL AND COALESCE(o.sealed_at, o.last_seen_at) < %(oldest)s)
                                  OR (o.device IS NOT NULL AND COALESCE(o.device_at, o.last_seen_at) < %(oldest)s))
                           ORDER BY o.key LIMIT %(limit)s))
RETURNING v.key;

-- sealed_tokens: -> bucket, destination_id, sealed
SELECT t.bucket, t.destination_id, t.sealed FROM oauth_token t
 WHERE t.bucket = ANY (%(buckets)s::int[]) AND t.sealed IS NOT NULL;

-- reseal_token: -> nothing
UPDATE oauth_token t SET sealed = %(sealed)s
 WHERE t.bucket = %(bucket)s AND t.destination_id = %(id)s AND t.sealed = %(old)s;

-- sealed_configs: -> id, config
SELECT d.id, d.config FROM destination d;

-- reseal_config: -> nothing
UPDATE destination d SET config = %(sealed)s WHERE d.id = %(id)s AND d.config = %(old)s;

-- reseal_installation: -> nothing
UPDATE installation i SET seal_check = %(seal_check)s, link_key = %(link_key)s WHERE i.id = 1;

-- sealed_by: whether anything is sealed by a key. Reads all there is. -> one row where it is
SELECT 1 WHERE EXISTS (SELECT FROM event e WHERE e.bucket = ANY (%(buckets)s::int[]) AND e.id >= %(oldest)s
                          AND substr(e.sealed, 1, 4) = %(key_id)s)
    OR EXISTS (SELECT FROM visitor v WHERE v.bucket = ANY (%(buckets)s::int[])
                  AND (substr(v.sealed, 1, 4) = %(key_id)s OR substr(v.device, 1, 4) = %(key_id)s))
    OR EXISTS (SELECT FROM oauth_token t WHERE t.bucket = ANY (%(buckets)s::int[])
                  AND substr(t.sealed, 1, 4) = %(key_id)s)
    OR EXISTS (SELECT FROM destination d WHERE substr(d.config, 1, 4) = %(key_id)s)
    OR EXISTS (SELECT FROM installation i WHERE substr(i.link_key, 1, 4) = %(key_id)s);
