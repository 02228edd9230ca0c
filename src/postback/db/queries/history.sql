-- replayable: of the next %(examined)s deliveries of one bucket to one destination, which may be replayed.
-- -> event_id, matches
-- What an order's rule skipped stays so: to send it would count an order twice, or one that was taken back. So does what
-- was erased, and what is a bot's.
SELECT n.event_id,
       COALESCE(n.status = ANY (%(statuses)s::text[]) AND n.settled_at < %(before)s
                AND NOT (n.status = 'skipped' AND (starts_with(n.reason, 'order ') OR starts_with(n.reason, 'no retraction')
                                                   OR starts_with(n.reason, 'erased') OR starts_with(n.reason, 'bot: ')))
                AND NOT EXISTS (SELECT FROM event x WHERE x.bucket = n.bucket AND x.id = n.event_id
                                   AND x.id BETWEEN %(min_id)s AND %(max_id)s AND 'erased' = ANY (x.notes))
                AND (%(reason)s::text IS NULL OR starts_with(n.reason, %(reason)s))
                AND (%(event_ids)s::uuid[] IS NULL OR n.event_id = ANY (%(event_ids)s::uuid[]))
                AND (%(name)s::text IS NULL AND %(site_id)s::uuid IS NULL
                     OR EXISTS (SELECT FROM event e
                                 WHERE e.bucket = n.bucket AND e.id = n.event_id
                                   AND e.id BETWEEN %(min_id)s AND %(max_id)s
                                   AND (%(name)s::text IS NULL OR e.name = %(name)s)
                                   AND (%(site_id)s::uuid IS NULL OR e.site_id = %(site_id)s))), false)
  FROM (SELECT t.bucket, t.event_id, t.status, t.settled_at, t.reason
          FROM delivery t
         WHERE t.bucket = %(bucket)s AND t.event_id BETWEEN %(min_id)s AND %(max_id)s
           AND t.destination_id = %(destination_id)s
         ORDER BY t.event_id LIMIT %(examined)s) n
 ORDER BY n.event_id;

-- reopen: queue some deliveries again, those that have not changed since %(before)s. -> nothing; counts rows
UPDATE delivery d
   SET status = 'queued', tries = 0, tried_at = NULL, due_at = GREATEST(d.due_at, %(now)s), reason = NULL, fix = NULL,
       settled_at = NULL
 WHERE d.bucket = %(bucket)s AND d.event_id = ANY (%(event_ids)s::uuid[])
   AND d.event_id BETWEEN %(min_id)s AND %(max_id)s AND d.destination_id = %(destination_id)s
   AND d.status = ANY (%(statuses)s::text[]) AND d.settled_at < %(before)s;

-- taken: of some deliveries, those that the platform took or may have taken, and when it first did. -> event_id, at
SELECT a.event_id, min(a.at)
  FROM attempt a
 WHERE a.bucket = %(bucket)s AND a.event_id = ANY (%(event_ids)s::uuid[])
   AND a.event_id BETWEEN %(min_id)s AND %(max_id)s AND a.destination_id = %(destination_id)s
   AND (a.outcome IS NULL OR a.outcome IN ('delivered', 'unknown'))
 GROUP BY a.event_id;

-- lacking: of the next %(examined)s events of one bucket, which have no delivery to one destination, and why their
-- order's rule skipped others. -> id, body (null: it has one, or is not wanted), reason
SELECT n.id,
       CASE WHEN n.workspace_id = %(workspace_id)s
                 AND (%(name)s::text IS NULL OR n.name = %(name)s)
                 AND (%(site_id)s::uuid IS NULL OR n.site_id = %(site_id)s)
                 AND NOT EXISTS (SELECT FROM delivery d
                                  WHERE d.bucket = n.bucket AND d.event_id = n.id
                                    AND d.event_id BETWEEN %(min_id)s AND %(max_id)s
                                    AND d.destination_id = %(destination_id)s)
            THEN n.body END,
       (SELECT o.reason FROM delivery o
         WHERE o.bucket = n.bucket AND o.event_id = n.id AND o.event_id BETWEEN %(min_id)s AND %(max_id)s
           AND o.status = 'skipped' AND starts_with(o.reason, 'order ') LIMIT 1)
  FROM (SELECT t.bucket, t.id, t.workspace_id, t.site_id, t.name, t.body
          FROM event t
         WHERE t.bucket = %(bucket)s AND t.id BETWEEN %(min_id)s AND %(max_id)s
         ORDER BY t.id LIMIT %(examined)s) n
 ORDER BY n.id;

-- give: deliveries of one destination to events that have none, all in one bucket. -> event_id, status of those made
INSERT INTO delivery AS d (bucket, event_id, destination_id, status, due_at, reason, settled_at)
SELECT k.bucket, u.event_id, %(destination_id)s, u.status, u.due_at, u.reason,
       CASE WHEN u.status = 'skipped' THEN u.due_at END
  FROM bucket k CROSS JOIN unnest(%(event_ids)s::uuid[], %(statuses)s::text[], %(due_at)s::timestamptz[],
                                  %(reasons)s::text[]) u (event_id, status, due_at, reason)
 WHERE k.bucket = %(bucket)s
ON CONFLICT DO NOTHING
RETURNING d.event_id, d.status;

-- count: what a job made deliveries of, by the hours of the events, added to its own rows. -> nothing
INSERT INTO usage AS t (bucket, writer, hour, workspace_id, destination_id, n)
SELECT k.bucket, %(writer)s, u.hour, %(workspace_id)s, %(destination_id)s, u.n
  FROM bucket k CROSS JOIN unnest(%(hours)s::timestamptz[], %(counts)s::bigint[]) u (hour, n)
 WHERE k.bucket = %(bucket)s
ON CONFLICT (bucket, writer, hour, workspace_id, destination_id) DO UPDATE SET n = t.n + excluded.n;

-- crowd: how many deliveries of one destination are due, at most %(limit)s. -> n
SELECT count(*)
  FROM (SELECT d.event_id
          FROM bucket k
         CROSS JOIN LATERAL (SELECT o.event_id FROM delivery o
                              WHERE o.bucket = k.bucket AND o.bucket = ANY (%(buckets)s::int[])
                                AND o.destination_id = %(destination_id)s AND o.status IN ('queued', 'retrying')
                                AND o.due_at <= %(now)s AND o.event_id >= %(oldest)s
                              LIMIT %(limit)s) d
         WHERE k.bucket = ANY (%(buckets)s::int[]) LIMIT %(limit)s) n;
