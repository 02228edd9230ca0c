-- upsert: what was seen of visitors. An identifier keeps its value's first and last time; of two values the later seen
-- stays, of two seen at once the greater; of experiments the newest 50. -> nothing
INSERT INTO visitor AS v (bucket, key, workspace_id, id, site_id, identifiers, sealed, sealed_at, device, device_at, people,
                          first_seen_at, last_seen_at)
SELECT k.bucket, u.key, u.workspace_id, u.id, u.site_id, convert_from(u.identifiers, 'UTF8')::jsonb, u.sealed, u.sealed_at,
       u.device, u.device_at, u.people, u.seen_at, %(now)s
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[], %(workspace_ids)s::uuid[], %(ids)s::text[],
                            %(site_ids)s::uuid[], %(identifiers)s::bytea[], %(sealed)s::bytea[],
                            %(sealed_at)s::timestamptz[], %(device)s::bytea[], %(device_at)s::timestamptz[],
                            %(people)s::bigint[], %(seen_at)s::timestamptz[])
                       u (bucket, key, workspace_id, id, site_id, identifiers, sealed, sealed_at, device, device_at, people,
                          seen_at)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
ON CONFLICT (bucket, key) DO UPDATE
   SET identifiers = (
           SELECT m.all_ - ARRAY(SELECT e.key FROM jsonb_each(m.all_) e WHERE starts_with(e.key, 'experiment.')
                                  ORDER BY e.value -> 2 DESC, e.key COLLATE "C" OFFSET 50)
             FROM (SELECT v.identifiers || COALESCE((
               SELECT jsonb_object_agg(n.key, CASE WHEN o.value -> 0 = n.value -> 0
                                                   THEN jsonb_build_array(n.value -> 0, LEAST(o.value -> 1, n.value -> 1),
                                                                          GREATEST(o.value -> 2, n.value -> 2),
                                                                          CASE WHEN o.value -> 1 <= n.value -> 1
                                                                               THEN o.value -> 3 ELSE n.value -> 3 END)
                                                   ELSE n.value END)
                 FROM jsonb_each(excluded.identifiers) n LEFT JOIN jsonb_each(v.identifiers) o ON o.key = n.key
                WHERE o.key IS NULL OR (n.value -> 2, n.value -> 0) > (o.value -> 2, o.value -> 0)
                   OR (n.value -> 0 = o.value -> 0 AND n.value -> 1 < o.value -> 1)), '{}')
                   OFFSET 0) m (all_)),
       sealed = CASE WHEN excluded.sealed_at > COALESCE(v.sealed_at, '-infinity') THEN excluded.sealed ELSE v.sealed END,
       sealed_at = GREATEST(v.sealed_at, excluded.sealed_at),
       device = CASE WHEN excluded.device_at > COALESCE(v.device_at, '-infinity') THEN excluded.device ELSE v.device END,
       device_at = GREATEST(v.device_at, excluded.device_at),
       people = v.people | excluded.people,
       id = COALESCE(v.id, excluded.id), site_id = COALESCE(v.site_id, excluded.site_id),
       first_seen_at = LEAST(v.first_seen_at, excluded.first_seen_at),
       last_seen_at = GREATEST(v.last_seen_at, excluded.last_seen_at)
 WHERE excluded.sealed_at > COALESCE(v.sealed_at, '-infinity') OR excluded.device_at > COALESCE(v.device_at, '-infinity')
    OR v.last_seen_at < excluded.last_seen_at - interval '1 day' OR excluded.first_seen_at < v.first_seen_at
    OR v.people <> (v.people | excluded.people) OR (v.site_id IS NULL AND excluded.site_id IS NOT NULL)
    OR EXISTS (SELECT FROM jsonb_each(excluded.identifiers) n LEFT JOIN jsonb_each(v.identifiers) o ON o.key = n.key
                WHERE o.key IS NULL OR (n.value -> 2, n.value -> 0) > (o.value -> 2, o.value -> 0)
                   OR (n.value -> 0 = o.value -> 0 AND n.value -> 1 < o.value -> 1));

-- upsert_links: which visitors identifiers belong to; all of them stay, up to one more than join. Given back are the rows
-- that were written and have several. -> key, kind, origin, visitor_key, others
WITH written AS (
INSERT INTO link AS l (bucket, key, visitor_key, others, kind, origin, first_seen_at, seen_at)
SELECT k.bucket, u.key, u.visitor_key, u.others::uuid[], u.kind, u.origin, u.seen_at, %(now)s
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[], %(visitor_keys)s::uuid[], %(others)s::text[],
                            %(kinds)s::text[], %(origins)s::text[], %(seen_at)s::timestamptz[])
                       u (bucket, key, visitor_key, others, kind, origin, seen_at)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
ON CONFLICT (bucket, key) DO UPDATE
   SET others = (SELECT array_agg(a.one) FROM (SELECT DISTINCT b.one
                                                 FROM unnest(l.others || excluded.others || excluded.visitor_key) b (one)
                                                WHERE b.one <> l.visitor_key ORDER BY b.one LIMIT 50) a),
       first_seen_at = LEAST(l.first_seen_at, excluded.first_seen_at),
       origin = CASE WHEN excluded.first_seen_at < l.first_seen_at THEN excluded.origin ELSE l.origin END,
       seen_at = GREATEST(l.seen_at, excluded.seen_at)
 WHERE l.seen_at < excluded.seen_at - interval '1 day'
    OR (COALESCE(cardinality(l.others), 0) < 50
        AND NOT (l.visitor_key || COALESCE(l.others, '{}')) @> (excluded.visitor_key || COALESCE(excluded.others, '{}')))
RETURNING l.key, l.kind, l.origin, l.visitor_key, l.others)
SELECT w.key, w.kind, w.origin, w.visitor_key, w.others FROM written w WHERE w.others IS NOT NULL;

-- find_links: the visitors behind some spans of keys, most of which are one key. -> key, kind, visitor_key, others
SELECT l.key, l.kind, l.visitor_key, l.others
  FROM link l JOIN unnest(%(buckets)s::int[], %(lows)s::uuid[], %(highs)s::uuid[]) u (bucket, low, high)
    ON l.bucket = u.bucket AND l.key BETWEEN u.low AND u.high
 WHERE l.bucket = ANY (%(touched)s::int[]);

-- claim: who has this link: the first who asked. -> visitor_key
INSERT INTO link AS l (bucket, key, visitor_key, kind, origin, first_seen_at, seen_at)
SELECT k.bucket, u.key, u.visitor_key, u.kind, u.origin, u.seen_at, %(now)s
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[], %(visitor_keys)s::uuid[], %(kinds)s::text[],
                            %(origins)s::text[], %(seen_at)s::timestamptz[])
                       u (bucket, key, visitor_key, kind, origin, seen_at)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
ON CONFLICT (bucket, key) DO UPDATE SET seen_at = l.seen_at
RETURNING l.visitor_key;

-- find: visitors by key. -> Visitor rows
SELECT v.key, v.workspace_id, v.identifiers::text, v.sealed, v.device, v.people, v.id, v.site_id, v.first_seen_at,
       v.last_seen_at, v.sealed_at, v.device_at
  FROM visitor v JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
    ON v.bucket = u.bucket AND v.key = u.key
 WHERE v.bucket = ANY (%(touched)s::int[]);

-- insert_touches: what brought visitors and what they opened; one that is known stays. -> nothing
INSERT INTO touch AS t (bucket, visitor_key, id, workspace_id, site_id, kind, session_id, at, source, medium, campaign,
                        term, content, click_id, referrer, landing, product, widget, placement, is_bot)
SELECT k.bucket, u.visitor_key, u.id, u.workspace_id, u.site_id, u.kind, u.session_id, u.at, u.source, u.medium,
       u.campaign, u.term, u.content, u.click_id, u.referrer, u.landing, u.product, u.widget, u.placement, u.is_bot = 1
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(visitor_keys)s::uuid[], %(ids)s::uuid[], %(workspace_ids)s::uuid[],
                            %(site_ids)s::uuid[], %(kinds)s::text[], %(session_ids)s::text[], %(at)s::timestamptz[],
                            %(sources)s::text[], %(mediums)s::text[], %(campaigns)s::text[], %(terms)s::text[],
                            %(contents)s::text[], %(click_ids)s::text[], %(referrers)s::text[], %(landings)s::text[],
                            %(products)s::text[], %(widgets)s::text[], %(placements)s::text[], %(are_bots)s::int[])
                       u (bucket, visitor_key, id, workspace_id, site_id, kind, session_id, at, source, medium, campaign,
                          term, content, click_id, referrer, landing, product, widget, placement, is_bot)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
ON CONFLICT (bucket, visitor_key, id) DO NOTHING;

-- touches_of: the newest of some visitors within a span of ids. -> Touch rows
SELECT t.visitor_key, t.id, t.workspace_id, t.site_id, t.kind, t.session_id, t.at, t.source, t.medium, t.campaign, t.term,
       t.content, t.click_id, t.referrer, t.landing, t.product, t.widget, t.placement, t.is_bot
  FROM touch t JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
    ON t.bucket = u.bucket AND t.visitor_key = u.key
 WHERE t.bucket = ANY (%(touched)s::int[]) AND t.id BETWEEN %(min_id)s AND %(max_id)s
 ORDER BY t.id DESC LIMIT %(limit)s;

-- visits: sessions of some visitors within a span of ids, newest first, without those of bots.
-- -> visitor_key, site_id, session_id, at, source, medium, campaign
SELECT t.visitor_key, t.site_id, t.session_id, t.at, t.source, t.medium, t.campaign
  FROM touch t JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
    ON t.bucket = u.bucket AND t.visitor_key = u.key
 WHERE t.bucket = ANY (%(touched)s::int[]) AND t.id BETWEEN %(min_id)s AND %(max_id)s
   AND t.kind = 'session' AND NOT t.is_bot
 ORDER BY t.id DESC;

-- trim: visitors that were not seen within the retention, in key order. -> key
DELETE FROM visitor v
 WHERE v.bucket = %(bucket)s AND v.last_seen_at < %(oldest)s
   AND v.key = ANY (ARRAY(SELECT o.key FROM visitor o
                           WHERE o.bucket = %(bucket)s AND o.key > %(after)s AND o.last_seen_at < %(oldest)s
                           ORDER BY o.key LIMIT %(limit)s))
RETURNING v.key;

-- trim_touches: touches of visitors before %(oldest)s, which no partition of a month holds, in key order. -> visitor_key
DELETE FROM touch t
 WHERE t.bucket = %(bucket)s AND t.id BETWEEN %(min_id)s AND %(oldest)s
   AND t.visitor_key = ANY (ARRAY(SELECT o.visitor_key FROM touch o
                                   WHERE o.bucket = %(bucket)s AND o.visitor_key > %(after)s
                                     AND o.id BETWEEN %(min_id)s AND %(oldest)s
                                   ORDER BY o.visitor_key LIMIT %(limit)s))
RETURNING t.visitor_key;

-- trim_links: links that were not seen within the retention, in key order. -> key
DELETE FROM link l
 WHERE l.bucket = %(bucket)s AND l.seen_at < %(oldest)s
   AND l.key = ANY (ARRAY(SELECT o.key FROM link o
                           WHERE o.bucket = %(bucket)s AND o.key > %(after)s AND o.seen_at < %(oldest)s
                           ORDER BY o.key LIMIT %(limit)s))
RETURNING l.key;
