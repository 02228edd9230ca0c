-- upsert: what was seen of visitors; the newest value of an identifier stays, its first time too. -> nothing
INSERT INTO visitor AS v (bucket, key, workspace_id, identifiers, sealed, first_seen_at, last_seen_at)
SELECT k.bucket, u.key, u.workspace_id, convert_from(u.identifiers, 'UTF8')::jsonb, u.sealed, u.seen_at, u.seen_at
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[], %(workspace_ids)s::uuid[], %(identifiers)s::bytea[],
                            %(sealed)s::bytea[], %(seen_at)s::timestamptz[])
                       u (bucket, key, workspace_id, identifiers, sealed, seen_at)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
ON CONFLICT (bucket, key) DO UPDATE
   SET identifiers = v.identifiers || COALESCE((SELECT jsonb_object_agg(n.key, n.value)
                                                  FROM jsonb_each(excluded.identifiers) n
                                                 WHERE v.identifiers -> n.key -> 0 IS DISTINCT FROM n.value -> 0), '{}'),
       sealed = COALESCE(excluded.sealed, v.sealed), last_seen_at = GREATEST(v.last_seen_at, excluded.last_seen_at)
 WHERE (excluded.sealed IS NOT NULL AND v.sealed IS NULL)
    OR v.last_seen_at < excluded.last_seen_at - interval '1 day'
    OR EXISTS (SELECT FROM jsonb_each(excluded.identifiers) n
                WHERE v.identifiers -> n.key -> 0 IS DISTINCT FROM n.value -> 0);

-- upsert_links: which visitor identifiers belong to; the newest stays. -> nothing
INSERT INTO link AS l (bucket, key, visitor_key, seen_at)
SELECT k.bucket, u.key, u.visitor_key, u.seen_at
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[], %(visitor_keys)s::uuid[], %(seen_at)s::timestamptz[])
                       u (bucket, key, visitor_key, seen_at)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
ON CONFLICT (bucket, key) DO UPDATE
   SET visitor_key = excluded.visitor_key, seen_at = excluded.seen_at
 WHERE (l.visitor_key <> excluded.visitor_key AND l.seen_at <= excluded.seen_at)
    OR (l.visitor_key = excluded.visitor_key AND l.seen_at < excluded.seen_at - interval '1 day');

-- find_links: the visitors behind some identifiers. -> key, visitor_key
SELECT l.key, l.visitor_key
  FROM link l JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key) ON l.bucket = u.bucket AND l.key = u.key
 WHERE l.bucket = ANY (%(touched)s::int[]);

-- find: visitors by key. -> Visitor rows
SELECT v.key, v.workspace_id, v.identifiers::text, v.sealed
  FROM visitor v JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
    ON v.bucket = u.bucket AND v.key = u.key
 WHERE v.bucket = ANY (%(touched)s::int[]);

-- trim: visitors that were not seen within the retention, in key order. -> key
DELETE FROM visitor v
 WHERE v.bucket = %(bucket)s AND v.last_seen_at < %(oldest)s
   AND v.key = ANY (ARRAY(SELECT o.key FROM visitor o
                           WHERE o.bucket = %(bucket)s AND o.key > %(after)s AND o.last_seen_at < %(oldest)s
                           ORDER BY o.key LIMIT %(limit)s))
RETURNING v.key;

-- trim_links: links that were not seen within the retention, in key order. -> key
DELETE FROM link l
 WHERE l.bucket = %(bucket)s AND l.seen_at < %(oldest)s
   AND l.key = ANY (ARRAY(SELECT o.key FROM link o
                           WHERE o.bucket = %(bucket)s AND o.key > %(after)s AND o.seen_at < %(oldest)s
                           ORDER BY o.key LIMIT %(limit)s))
RETURNING l.key;
