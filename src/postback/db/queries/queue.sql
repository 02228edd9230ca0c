-- insert_events: rows of one flush, all in its bucket. -> nothing
INSERT INTO event AS e (bucket, id, workspace_id, site_id, key_id, name, event_id, order_id, body, sealed, visitor_key)
SELECT k.bucket, u.id, u.workspace_id, u.site_id, u.key_id, u.name, u.event_id, u.order_id, u.body, u.sealed,
       u.visitor_key
  FROM bucket k CROSS JOIN
       unnest(%(ids)s::uuid[], %(workspace_ids)s::uuid[], %(site_ids)s::uuid[], %(key_ids)s::uuid[], %(names)s::text[],
              %(event_ids)s::text[], %(order_ids)s::text[], %(bodies)s::bytea[], %(sealed)s::bytea[],
              %(visitor_keys)s::uuid[])
              u (id, workspace_id, site_id, key_id, name, event_id, order_id, body, sealed, visitor_key)
 WHERE k.bucket = %(bucket)s;

-- insert_deliveries: rows of one flush, all in its bucket: each event with the lines of its fate, which many share.
-- -> nothing
INSERT INTO delivery AS d (bucket, event_id, destination_id, status, due_at, reason, settled_at)
SELECT k.bucket, e.id, f.destination_id, f.status, f.due_at, f.reason, CASE WHEN f.status = 'skipped' THEN f.due_at END
  FROM bucket k
 CROSS JOIN unnest(%(event_ids)s::uuid[], %(fates)s::int[]) e (id, fate)
  JOIN unnest(%(line_fates)s::int[], %(destination_ids)s::uuid[], %(statuses)s::text[], %(due_at)s::timestamptz[],
              %(reasons)s::text[]) f (fate, destination_id, status, due_at, reason) ON f.fate = e.fate
 WHERE k.bucket = %(bucket)s;

-- count: what a writer accepted, added to its own rows. -> nothing
INSERT INTO usage AS t (bucket, writer, hour, workspace_id, destination_id, n)
SELECT k.bucket, %(writer)s, %(hour)s, u.workspace_id, u.destination_id, u.n
  FROM bucket k CROSS JOIN unnest(%(workspace_ids)s::uuid[], %(destination_ids)s::uuid[], %(counts)s::bigint[])
                           u (workspace_id, destination_id, n)
 WHERE k.bucket = %(bucket)s
ON CONFLICT (bucket, writer, hour, workspace_id, destination_id) DO UPDATE SET n = t.n + excluded.n;

-- note: add a note to some events, once. -> nothing
UPDATE event e SET notes = array_append(e.notes, %(note)s)
  FROM unnest(%(buckets)s::int[], %(ids)s::uuid[]) u (bucket, id)
 WHERE e.bucket = u.bucket AND e.id = u.id AND e.bucket = ANY (%(touched)s::int[])
   AND e.id BETWEEN %(min_id)s AND %(max_id)s AND NOT %(note)s = ANY (COALESCE(e.notes, '{}'));

-- deliveries_of: what became of some events. -> DeliveryStatus rows
SELECT d.event_id, d.destination_id, d.status, d.attempt, d.due_at, d.reason, d.fix, d.settled_at
  FROM delivery d JOIN unnest(%(buckets)s::int[], %(ids)s::uuid[]) u (bucket, id)
    ON d.bucket = u.bucket AND d.event_id = u.id
 WHERE d.bucket = ANY (%(touched)s::int[]) AND d.event_id BETWEEN %(min_id)s AND %(max_id)s;

-- event_row: one event. -> EventRow
SELECT e.id, e.workspace_id, e.site_id, e.key_id, e.name, e.event_id, e.order_id, e.body, e.notes
  FROM event e WHERE e.bucket = %(bucket)s AND e.id = %(id)s AND e.id BETWEEN %(min_id)s AND %(max_id)s;

-- list_events: events of a workspace, newest first, of the newest %(examined)s of each bucket. -> EventRow rows
SELECT e.id, e.workspace_id, e.site_id, e.key_id, e.name, e.event_id, e.order_id, e.body, e.notes
  FROM bucket k CROSS JOIN LATERAL
       (SELECT n.id, n.workspace_id, n.site_id, n.key_id, n.name, n.event_id, n.order_id, n.body, n.notes
          FROM (SELECT t.bucket, t.id, t.workspace_id, t.site_id, t.key_id, t.name, t.event_id, t.order_id, t.body,
                       t.notes, t.visitor_key
                  FROM event t WHERE t.bucket = k.bucket AND t.id BETWEEN %(min_id)s AND %(max_id)s
                 ORDER BY t.id DESC LIMIT %(examined)s) n
         WHERE n.workspace_id = %(workspace_id)s
           AND (%(site_id)s::uuid IS NULL OR n.site_id = %(site_id)s)
           AND (%(key_id)s::uuid IS NULL OR n.key_id = %(key_id)s)
           AND (%(name)s::text IS NULL OR n.name = %(name)s)
           AND (%(event_id)s::text IS NULL OR n.event_id = %(event_id)s)
           AND (%(order_id)s::text IS NULL OR n.order_id = %(order_id)s)
           AND (%(note)s::text IS NULL OR %(note)s = ANY (n.notes))
           AND (%(visitor_key)s::uuid IS NULL OR n.visitor_key = %(visitor_key)s)
           AND (%(says)s::text[] IS NULL
                OR EXISTS (SELECT FROM unnest(%(says)s::text[]) g (said)
                            WHERE position(convert_to(g.said, 'UTF8') IN n.body) > 0))
           AND (%(dialect)s::text IS NULL OR position(convert_to('"dialect":"' || %(dialect)s::text || '"', 'UTF8') IN n.body) > 0)
           AND (%(statuses)s::text[] IS NULL
                OR EXISTS (SELECT FROM delivery d
                            WHERE d.bucket = n.bucket AND d.event_id = n.id
                              AND d.event_id BETWEEN %(min_id)s AND %(max_id)s
                              AND d.status = ANY (%(statuses)s::text[])
                              AND d.destination_id = ANY (%(destination_ids)s::uuid[])))
         ORDER BY n.id DESC LIMIT %(limit)s) e
 ORDER BY e.id DESC LIMIT %(limit)s;

-- list_visitors: the newest events of a workspace that name a visitor, of the newest %(examined)s of each bucket.
-- -> id, visitor_key
SELECT e.id, e.visitor_key
  FROM bucket k CROSS JOIN LATERAL
       (SELECT n.id, n.visitor_key
          FROM (SELECT t.bucket, t.id, t.workspace_id, t.site_id, t.visitor_key
                  FROM event t WHERE t.bucket = k.bucket AND t.id BETWEEN %(min_id)s AND %(max_id)s
                 ORDER BY t.id DESC LIMIT %(examined)s) n
         WHERE n.workspace_id = %(workspace_id)s AND n.visitor_key IS NOT NULL
           AND (%(site_id)s::uuid IS NULL OR n.site_id = %(site_id)s)
         ORDER BY n.id DESC LIMIT %(limit)s) e
 ORDER BY e.id DESC LIMIT %(limit)s;

-- events_floor: down to where list_events has examined every bucket; no row: to the end. -> id
SELECT f.id
  FROM bucket k CROSS JOIN LATERAL
       (SELECT t.id FROM event t WHERE t.bucket = k.bucket AND t.id BETWEEN %(min_id)s AND %(max_id)s
         ORDER BY t.id DESC OFFSET %(examined)s::int - 1 LIMIT 1) f
 ORDER BY f.id DESC LIMIT 1;

-- list_deliveries: deliveries to some destinations, newest event first, of the newest %(examined)s of each bucket.
-- -> DeliveryStatus rows
SELECT d.event_id, d.destination_id, d.status, d.attempt, d.due_at, d.reason, d.fix, d.settled_at
  FROM bucket k CROSS JOIN LATERAL
       (SELECT n.event_id, n.destination_id, n.status, n.attempt, n.due_at, n.reason, n.fix, n.settled_at
          FROM (SELECT t.event_id, t.destination_id, t.status, t.attempt, t.due_at, t.reason, t.fix, t.settled_at
                  FROM delivery t
                 WHERE t.bucket = k.bucket AND t.event_id BETWEEN %(min_id)s AND %(max_id)s
                   AND (t.event_id, t.destination_id) < (%(max_id)s, %(before)s)
                 ORDER BY t.event_id DESC, t.destination_id DESC LIMIT %(examined)s) n
         WHERE n.destination_id = ANY (%(destination_ids)s::uuid[])
           AND (%(statuses)s::text[] IS NULL OR n.status = ANY (%(statuses)s::text[]))
           AND (%(reason)s::text IS NULL OR starts_with(n.reason, %(reason)s))
         ORDER BY n.event_id DESC, n.destination_id DESC LIMIT %(limit)s) d
 ORDER BY d.event_id DESC, d.destination_id DESC LIMIT %(limit)s;

-- deliveries_floor: down to where list_deliveries has examined every bucket; no row: to the end.
-- -> event_id, destination_id
SELECT f.event_id, f.destination_id
  FROM bucket k CROSS JOIN LATERAL
       (SELECT t.event_id, t.destination_id
          FROM delivery t
         WHERE t.bucket = k.bucket AND t.event_id BETWEEN %(min_id)s AND %(max_id)s
           AND (t.event_id, t.destination_id) < (%(max_id)s, %(before)s)
         ORDER BY t.event_id DESC, t.destination_id DESC OFFSET %(examined)s::int - 1 LIMIT 1) f
 ORDER BY f.event_id DESC, f.destination_id DESC LIMIT 1;

-- event_rows: some events. -> EventRow rows
SELECT e.id, e.workspace_id, e.site_id, e.key_id, e.name, e.event_id, e.order_id, e.body, e.notes
  FROM event e JOIN unnest(%(buckets)s::int[], %(ids)s::uuid[]) u (bucket, id) ON e.bucket = u.bucket AND e.id = u.id
 WHERE e.bucket = ANY (%(touched)s::int[]) AND e.id BETWEEN %(min_id)s AND %(max_id)s;


-- due: which of some pairs of bucket and destination have something due by %(until)s. -> bucket, destination_id, due_at
-- Once a second, so it reads one index entry a pair; `newest` spares the partitions made ahead.
SELECT k.bucket, u.destination_id, d.due_at
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(destination_ids)s::uuid[]) u (bucket, destination_id)
    ON u.bucket = k.bucket
 CROSS JOIN LATERAL (SELECT o.due_at FROM delivery o
                      WHERE o.bucket = k.bucket AND o.bucket = ANY (%(touched)s::int[])
                        AND o.destination_id = u.destination_id AND o.status IN ('queued', 'retrying')
                        AND o.event_id >= %(oldest)s AND o.event_id < %(newest)s
                      ORDER BY o.due_at LIMIT 1) d
 WHERE k.bucket = ANY (%(touched)s::int[]) AND d.due_at <= %(until)s;

-- waiting: of some pairs of bucket and destination, the retry that is due first. -> bucket, destination_id, due_at
SELECT k.bucket, u.destination_id, d.due_at
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(destination_ids)s::uuid[]) u (bucket, destination_id)
    ON u.bucket = k.bucket
 CROSS JOIN LATERAL (SELECT o.due_at FROM delivery o
                      WHERE o.bucket = k.bucket AND o.bucket = ANY (%(touched)s::int[])
                        AND o.destination_id = u.destination_id AND o.status = 'retrying'
                        AND o.event_id >= %(oldest)s AND o.event_id < %(newest)s
                      ORDER BY o.due_at LIMIT 1) d
 WHERE k.bucket = ANY (%(touched)s::int[]);

-- has_open: whether deliveries of some months are open, in some buckets. -> one row where they are
SELECT 1 FROM delivery d
 WHERE d.bucket = ANY (%(buckets)s::int[]) AND d.event_id >= %(low)s AND d.event_id < %(high)s
   AND d.status IN ('queued', 'retrying') LIMIT 1;

-- claim: open deliveries of one destination in one bucket, due at %(now)s, or a retry due by %(until)s, the longest due
-- first; with the time of an attempt that has no outcome. -> Claimed rows
-- No lock: the bucket's lease makes its owner the only sender; every write that follows carries the lease's epoch.
SELECT uuid_send(d.event_id), d.attempt, d.tries, d.tried_at, d.due_at,
       (SELECT a.at FROM attempt a
         WHERE a.bucket = %(bucket)s AND a.event_id = d.event_id AND a.event_id >= %(oldest)s
           AND a.event_id < %(newest)s AND a.destination_id = %(destination_id)s AND a.n = d.attempt + 1
           AND a.outcome IS NULL)
  FROM delivery d
 WHERE d.bucket = %(bucket)s AND d.destination_id = %(destination_id)s
   AND d.event_id >= %(oldest)s AND d.event_id < %(newest)s
   AND d.status IN ('queued', 'retrying') AND d.due_at >= %(since)s AND d.due_at <= %(until)s
   AND (d.due_at <= %(now)s OR d.status = 'retrying')
 ORDER BY d.due_at LIMIT %(limit)s;

-- events: what some deliveries are about. -> StoredEvent rows
SELECT uuid_send(e.id), uuid_send(e.workspace_id), e.body, e.sealed, uuid_send(e.visitor_key)
  FROM event e JOIN unnest(%(buckets)s::int[], %(ids)s::uuid[]) u (bucket, id) ON e.bucket = u.bucket AND e.id = u.id
 WHERE e.bucket = ANY (%(touched)s::int[]) AND e.id BETWEEN %(min_id)s AND %(max_id)s;

-- begin: say that some deliveries are about to be sent, those in buckets that are still ours. -> nothing; counts rows
INSERT INTO attempt AS t (bucket, event_id, destination_id, n, at)
SELECT k.bucket, u.event_id, %(destination_id)s, u.n, %(at)s
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(event_ids)s::uuid[], %(ns)s::int[], %(epochs)s::bigint[])
                       u (bucket, event_id, n, epoch)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
   AND u.epoch = (SELECT l.epoch FROM lease l WHERE l.bucket = k.bucket AND l.owner = %(owner)s);

-- withdraw: attempts that were begun and never sent. -> nothing
DELETE FROM attempt a
 USING unnest(%(buckets)s::int[], %(event_ids)s::uuid[], %(destination_ids)s::uuid[], %(ns)s::int[], %(epochs)s::bigint[])
       u (bucket, event_id, destination_id, n, epoch)
 WHERE a.bucket = u.bucket AND a.event_id = u.event_id AND a.destination_id = u.destination_id AND a.n = u.n
   AND a.outcome IS NULL AND a.bucket = ANY (%(touched)s::int[])
   AND a.event_id BETWEEN %(min_id)s AND %(max_id)s
   AND u.epoch = (SELECT l.epoch FROM lease l WHERE l.bucket = a.bucket AND l.owner = %(owner)s);

-- end_attempts: how some attempts ended, in buckets that are still ours. -> nothing; counts rows
UPDATE attempt a
   SET outcome = u.outcome, reason = u.reason, status = u.status, latency_ms = u.latency_ms, head = u.head,
       request = u.request, response = u.response, identifiers = u.identifiers
  FROM unnest(%(buckets)s::int[], %(event_ids)s::uuid[], %(destination_ids)s::uuid[], %(ns)s::int[],
              %(epochs)s::bigint[], %(outcomes)s::text[], %(reasons)s::text[], %(statuses)s::int[],
              %(latencies)s::int[], %(heads)s::text[], %(requests)s::bytea[], %(responses)s::text[],
              %(identifiers)s::bytea[])
              u (bucket, event_id, destination_id, n, epoch, outcome, reason, status, latency_ms, head, request, response,
                 identifiers)
 WHERE a.bucket = u.bucket AND a.event_id = u.event_id AND a.destination_id = u.destination_id AND a.n = u.n
   AND a.outcome IS NULL AND a.bucket = ANY (%(touched)s::int[])
   AND a.event_id BETWEEN %(min_id)s AND %(max_id)s
   AND u.epoch = (SELECT l.epoch FROM lease l WHERE l.bucket = a.bucket AND l.owner = %(owner)s);

-- settle: what became of some deliveries, in buckets that are still ours, each once. -> nothing; counts rows
-- One that was skipped on its way, because its order was taken back, stays so unless the platform took it (delivered), or
-- may have taken it (failed).
UPDATE delivery d
   SET attempt = u.n, tries = d.tries + (u.n - u.before), due_at = u.due_at, tried_at = COALESCE(d.tried_at, u.tried_at),
       status = CASE WHEN d.status <> 'skipped' THEN u.status WHEN NOT u.taken THEN d.status
                     WHEN u.status = 'retrying' THEN 'failed' ELSE u.status END,
       reason = CASE WHEN d.status <> 'skipped' THEN u.reason WHEN NOT u.taken THEN d.reason
                     WHEN u.status = 'retrying' THEN concat('outcome unknown: ', u.reason) ELSE u.reason END,
       fix = CASE WHEN d.status <> 'skipped' THEN u.fix WHEN NOT u.taken THEN d.fix
                  WHEN u.status = 'retrying' THEN %(taken_back_fix)s ELSE u.fix END,
       settled_at = CASE WHEN d.status <> 'skipped' THEN u.settled_at ELSE COALESCE(u.settled_at, d.settled_at) END
  FROM unnest(%(buckets)s::int[], %(event_ids)s::uuid[], %(destination_ids)s::uuid[], %(befores)s::int[], %(ns)s::int[],
              %(epochs)s::bigint[], %(statuses)s::text[], %(due_at)s::timestamptz[], %(reasons)s::text[],
              %(fixes)s::text[], %(settled_at)s::timestamptz[], %(tried_at)s::timestamptz[], %(taken)s::boolean[])
              u (bucket, event_id, destination_id, before, n, epoch, status, due_at, reason, fix, settled_at, tried_at,
                 taken)
 WHERE d.bucket = u.bucket AND d.event_id = u.event_id AND d.destination_id = u.destination_id
   AND d.attempt = u.before AND d.bucket = ANY (%(touched)s::int[])
   AND (d.status IN ('queued', 'retrying') OR (d.status = 'skipped' AND starts_with(d.reason, 'order cancelled')))
   AND d.event_id BETWEEN %(min_id)s AND %(max_id)s
   AND u.epoch = (SELECT l.epoch FROM lease l WHERE l.bucket = d.bucket AND l.owner = %(owner)s);

-- hasten: make a destination's waiting deliveries due, of one bucket, a thousand or so at a time.
-- -> nothing; counts rows
UPDATE delivery d SET due_at = %(now)s
 WHERE d.bucket = %(bucket)s AND d.destination_id = %(destination_id)s AND d.status = 'retrying'
   AND d.due_at > %(now)s AND d.event_id >= %(oldest)s AND d.event_id < %(newest)s
   AND d.event_id = ANY (ARRAY(SELECT o.event_id FROM delivery o
                                WHERE o.bucket = %(bucket)s AND o.destination_id = %(destination_id)s
                                  AND o.status = 'retrying' AND o.due_at > %(now)s
                                  AND o.event_id >= %(oldest)s AND o.event_id < %(newest)s LIMIT %(limit)s));

-- end_open: end open deliveries of one destination in one bucket, a thousand or so at a time. -> nothing; counts rows
UPDATE delivery d
   SET status = %(status)s, reason = %(reason)s, fix = %(fix)s, settled_at = %(now)s
 WHERE d.bucket = %(bucket)s AND d.destination_id = %(destination_id)s AND d.event_id >= %(oldest)s
   AND d.event_id = ANY (ARRAY(SELECT o.event_id FROM delivery o
                                WHERE o.bucket = %(bucket)s AND o.destination_id = %(destination_id)s
                                  AND o.event_id >= %(oldest)s AND o.status IN ('queued', 'retrying') LIMIT %(limit)s))
   AND d.status IN ('queued', 'retrying');

-- oldest_pending: of each destination and bucket, the delivery that has been due the longest. -> destination_id, event_id
SELECT n.destination_id, d.event_id
  FROM bucket k CROSS JOIN unnest(%(destination_ids)s::uuid[]) n (destination_id)
 CROSS JOIN LATERAL (SELECT o.event_id FROM delivery o
                      WHERE o.bucket = k.bucket AND o.bucket = ANY (%(buckets)s::int[])
                        AND o.destination_id = n.destination_id AND o.status IN ('queued', 'retrying')
                        AND o.event_id >= %(oldest)s
                      ORDER BY o.due_at LIMIT 1) d
 WHERE k.bucket = ANY (%(buckets)s::int[]);

-- backlog: of the open deliveries of one destination, the %(limit)s longest due of each bucket: how many, how many of
-- them retries, the time and the reason of most of them. -> waiting, retrying, since, reason
SELECT count(*), count(*) FILTER (WHERE d.status = 'retrying'), min(d.tried_at),
       mode() WITHIN GROUP (ORDER BY d.reason) FILTER (WHERE d.status = 'retrying')
  FROM bucket k CROSS JOIN LATERAL
       (SELECT o.status, o.tried_at, o.reason FROM delivery o
         WHERE o.bucket = k.bucket AND o.bucket = ANY (%(buckets)s::int[])
           AND o.destination_id = %(destination_id)s AND o.status IN ('queued', 'retrying')
           AND o.event_id >= %(oldest)s
         ORDER BY o.due_at LIMIT %(limit)s) d
 WHERE k.bucket = ANY (%(buckets)s::int[]);

-- attend: say that a worker lives, and read the database's time. -> clock
INSERT INTO worker AS w (bucket, id, seen_at)
SELECT k.bucket, %(id)s, now() FROM bucket k WHERE k.bucket = %(bucket)s
ON CONFLICT (bucket, id) DO UPDATE SET seen_at = excluded.seen_at
RETURNING clock_timestamp();

-- leave: a worker ends; those long dead go too. -> nothing
DELETE FROM worker w WHERE w.bucket = %(bucket)s AND (w.id = %(id)s OR w.seen_at < now() - interval '1 hour');

-- workers: who lives. -> id
SELECT w.id FROM worker w WHERE w.bucket = %(bucket)s AND w.seen_at > now() - make_interval(secs => %(seconds)s);

-- leases: who has which bucket, and which are free. -> bucket, owner, is_free
SELECT l.bucket, l.owner, l.owner IS NULL OR l.expires_at < now() FROM lease l WHERE l.bucket = ANY (%(buckets)s::int[]);

-- renew: keep one's buckets. -> bucket, epoch
UPDATE lease l SET expires_at = now() + make_interval(secs => %(seconds)s)
 WHERE l.bucket = ANY (%(buckets)s::int[]) AND l.owner = %(owner)s
RETURNING l.bucket, l.epoch;

-- take: make free buckets one's own; the new epoch fences who had them. -> bucket, epoch
UPDATE lease l SET owner = %(owner)s, epoch = l.epoch + 1, expires_at = now() + make_interval(secs => %(seconds)s)
 WHERE l.bucket = ANY (%(buckets)s::int[]) AND (l.owner IS NULL OR l.expires_at < now())
RETURNING l.bucket, l.epoch;

-- release: give buckets back. -> nothing
UPDATE lease l SET owner = NULL, expires_at = now() WHERE l.bucket = ANY (%(buckets)s::int[]) AND l.owner = %(owner)s;

-- ledger_accepted: what was accepted, by destination and hour, as one bucket's writers counted. -> destination_id, hour, n
SELECT t.destination_id, t.hour, sum(t.n)::bigint
  FROM usage t
 WHERE t.bucket = %(bucket)s AND t.hour >= %(since)s AND t.hour < %(until)s
   AND t.destination_id = ANY (%(destination_ids)s::uuid[])
 GROUP BY 1, 2;

-- ledger_deliveries: what became of them, in one bucket; an id's first 48 bits are milliseconds.
-- -> destination_id, unix hour, status, reason, n
SELECT d.destination_id,
       ('x' || substr(d.event_id::text, 1, 8) || substr(d.event_id::text, 10, 4))::bit(48)::bigint / 3600000,
       d.status, CASE WHEN d.status IN ('skipped', 'failed') THEN COALESCE(d.reason, '') ELSE '' END, count(*)
  FROM delivery d
 WHERE d.bucket = %(bucket)s AND d.event_id >= %(low)s AND d.event_id < %(high)s
   AND d.destination_id = ANY (%(destination_ids)s::uuid[])
 GROUP BY 1, 2, 3, 4;

-- ledger_filed: hours whose partitions were dropped, of one bucket. -> destination_id, hour, status, reason, n
SELECT f.destination_id, f.hour, f.status, f.reason, f.n
  FROM ledger_hour f
 WHERE f.bucket = %(bucket)s AND f.hour >= %(since)s AND f.hour < %(until)s
   AND f.destination_id = ANY (%(destination_ids)s::uuid[]);

-- expire: end what is open among the deliveries of a month, in one bucket. -> nothing
UPDATE delivery d
   SET status = 'failed', reason = %(reason)s, fix = %(fix)s, settled_at = %(now)s
 WHERE d.bucket = %(bucket)s AND d.event_id >= %(low)s AND d.event_id < %(high)s
   AND d.status IN ('queued', 'retrying');

-- file_deliveries: count one bucket's deliveries of a month into ledger_hour, before they are dropped; of why they failed
-- the part that is ours. -> nothing
INSERT INTO ledger_hour AS t (bucket, hour, destination_id, status, reason, n)
SELECT d.bucket,
       to_timestamp(('x' || substr(d.event_id::text, 1, 8) || substr(d.event_id::text, 10, 4))::bit(48)::bigint
                    / 3600000 * 3600),
       d.destination_id, d.status,
       CASE d.status WHEN 'skipped' THEN COALESCE(d.reason, '')
                     WHEN 'failed' THEN COALESCE(substring(d.reason FROM %(ours)s::text), '') ELSE '' END,
       count(*)
  FROM delivery d
 WHERE d.bucket = %(bucket)s AND d.event_id >= %(low)s AND d.event_id < %(high)s
 GROUP BY 1, 2, 3, 4, 5
ON CONFLICT DO NOTHING;

-- file_accepted: count one bucket's usage of a month into ledger_hour. -> nothing
INSERT INTO ledger_hour AS t (bucket, hour, destination_id, status, reason, n)
SELECT u.bucket, u.hour, u.destination_id, 'accepted', '', sum(u.n)
  FROM usage u
 WHERE u.bucket = %(bucket)s AND u.hour >= %(since)s AND u.hour < %(until)s
 GROUP BY 1, 2, 3
ON CONFLICT DO NOTHING;

-- attempts_of: the tries of one delivery, oldest first. -> Attempt rows
SELECT a.n, a.at, a.outcome, a.reason, a.status, a.latency_ms, a.head, a.request, a.response, a.identifiers
  FROM attempt a
 WHERE a.bucket = %(bucket)s AND a.event_id = %(event_id)s AND a.event_id BETWEEN %(min_id)s AND %(max_id)s
   AND a.destination_id = %(destination_id)s
 ORDER BY a.n;

-- wait_briefly: give up a lock that does not come soon; what waits for it holds up everybody behind. -> nothing
SET LOCAL lock_timeout = '1s';

