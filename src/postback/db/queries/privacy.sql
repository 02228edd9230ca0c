-- insert: -> nothing
INSERT INTO erasure AS r (bucket, id, workspace_id, kind, subject, status, state, removed, created_by, changed_at)
SELECT k.bucket, %(id)s, %(workspace_id)s, %(kind)s, %(subject)s, 'running', %(state)s, %(removed)s::text::jsonb,
       %(created_by)s, %(now)s
  FROM bucket k WHERE k.bucket = %(bucket)s;

-- read: one erasure. -> Erasure row
SELECT r.id, r.workspace_id, r.kind, r.subject, r.status, r.state, r.removed::text, r.receipt, r.signature, r.created_by,
       r.changed_at
  FROM erasure r WHERE r.bucket = %(bucket)s AND r.id = %(id)s;

-- hold: an erasure that runs, locked to the end of the transaction. -> Erasure row
SELECT r.id, r.workspace_id, r.kind, r.subject, r.status, r.state, r.removed::text, r.receipt, r.signature, r.created_by,
       r.changed_at
  FROM erasure r WHERE r.bucket = %(bucket)s AND r.id = %(id)s AND r.status = 'running' FOR UPDATE;

-- list_all: erasures of a workspace, newest first, older than %(before)s; subject: only of this one, while it runs.
-- -> Erasure rows
SELECT r.id, r.workspace_id, r.kind, r.subject, r.status, r.state, r.removed::text, r.receipt, r.signature, r.created_by,
       r.changed_at
  FROM erasure r
 WHERE r.bucket = ANY (%(buckets)s::int[]) AND r.workspace_id = %(workspace_id)s AND r.id < %(before)s
   AND (%(subject)s::bytea IS NULL OR (r.subject = %(subject)s AND r.status = 'running'))
 ORDER BY r.id DESC LIMIT %(limit)s;

-- running: what is to be gone on with, in some buckets, the oldest first. -> id
SELECT r.id FROM erasure r WHERE r.bucket = ANY (%(buckets)s::int[]) AND r.status = 'running' ORDER BY r.id;

-- advance: what a step did. -> nothing
UPDATE erasure r
   SET status = %(status)s, state = %(state)s, removed = %(removed)s::text::jsonb, receipt = %(receipt)s,
       signature = %(signature)s, changed_at = %(now)s
 WHERE r.bucket = %(bucket)s AND r.id = %(id)s;

-- events: the next events of one bucket, in the order of their ids; without a body: another workspace's.
-- -> Found rows
SELECT n.id, CASE WHEN n.workspace_id = %(workspace_id)s THEN n.body END, n.sealed, n.visitor_key, n.site_id, n.event_id,
       n.order_id
  FROM (SELECT t.id, t.workspace_id, t.body, t.sealed, t.visitor_key, t.site_id, t.event_id, t.order_id
          FROM event t
         WHERE t.bucket = %(bucket)s AND t.id BETWEEN %(min_id)s AND %(max_id)s
         ORDER BY t.id LIMIT %(examined)s) n
 ORDER BY n.id;

-- some_events: some events of one bucket; without a body: another workspace's. -> Found rows
SELECT t.id, CASE WHEN t.workspace_id = %(workspace_id)s THEN t.body END, t.sealed, t.visitor_key, t.site_id, t.event_id,
       t.order_id
  FROM event t
 WHERE t.bucket = %(bucket)s AND t.id = ANY (%(ids)s::uuid[]) AND t.id BETWEEN %(min_id)s AND %(max_id)s;

-- strip_events: what is left of some events of one bucket. -> nothing; counts rows
UPDATE event e
   SET event_id = u.id::text, order_id = NULL, body = u.body, sealed = NULL, visitor_key = NULL,
       notes = array_append(e.notes, 'erased')
  FROM unnest(%(ids)s::uuid[], %(bodies)s::bytea[]) u (id, body)
 WHERE e.bucket = %(bucket)s AND e.id = u.id AND e.id BETWEEN %(min_id)s AND %(max_id)s;

-- cancel: what is open of some events' deliveries, in one bucket, ends as skipped. -> event_id
UPDATE delivery d
   SET status = 'skipped', settled_at = %(now)s, fix = NULL,
       reason = CASE WHEN EXISTS (SELECT FROM attempt a
                                   WHERE a.bucket = %(bucket)s AND a.event_id = d.event_id
                                     AND a.event_id BETWEEN %(min_id)s AND %(max_id)s
                                     AND a.destination_id = d.destination_id AND a.outcome IS NULL)
                     THEN %(perhaps)s ELSE %(reason)s END
 WHERE d.bucket = %(bucket)s AND d.event_id = ANY (%(ids)s::uuid[]) AND d.event_id BETWEEN %(min_id)s AND %(max_id)s
   AND d.status IN ('queued', 'retrying')
RETURNING d.event_id;

-- shorten_reasons: what a platform said of some events, in one bucket, goes; what is ours of a reason stays. -> nothing
UPDATE delivery d
   SET reason = substring(d.reason FROM %(ours)s::text), fix = NULL
 WHERE d.bucket = %(bucket)s AND d.event_id = ANY (%(ids)s::uuid[]) AND d.event_id BETWEEN %(min_id)s AND %(max_id)s
   AND d.status IN ('delivered', 'failed') AND (d.reason IS NOT NULL OR d.fix IS NOT NULL);

-- blank_attempts: what was sent of some events and answered, in one bucket; one under way ends, so that nothing is
-- written to it any more. -> nothing; counts rows
UPDATE attempt a
   SET outcome = COALESCE(a.outcome, 'unknown'), reason = NULL, head = NULL, request = NULL, response = NULL
 WHERE a.bucket = %(bucket)s AND a.event_id = ANY (%(ids)s::uuid[]) AND a.event_id BETWEEN %(min_id)s AND %(max_id)s
   AND (a.outcome IS NULL OR a.reason IS NOT NULL OR a.head IS NOT NULL OR a.request IS NOT NULL
        OR a.response IS NOT NULL);

-- log_texts: what the log holds of what was sent of some events, and answered, in one bucket. -> event_id, text
SELECT a.event_id,
       concat_ws(E'\n', a.head, encode(a.request, 'escape'), a.response)
  FROM attempt a
 WHERE a.bucket = %(bucket)s AND a.event_id = ANY (%(ids)s::uuid[]) AND a.event_id BETWEEN %(min_id)s AND %(max_id)s
   AND (a.request IS NOT NULL OR a.head IS NOT NULL OR a.response IS NOT NULL);

-- strip_conversions: those of some events lose their visitor and their order's number; they lie in the event's bucket or
-- in the order's, within a span of ids that the event's names. -> nothing; counts rows
UPDATE conversion c
   SET visitor_key = NULL, session_id = NULL, order_id = NULL
  FROM unnest(%(buckets)s::int[], %(event_ids)s::uuid[], %(lows)s::uuid[], %(highs)s::uuid[])
              u (bucket, event_id, low, high)
 WHERE c.bucket = u.bucket AND c.id BETWEEN u.low AND u.high AND c.event_id = u.event_id
   AND c.bucket = ANY (%(touched)s::int[]) AND c.id BETWEEN %(min_id)s AND %(max_id)s;

-- strip_orders: some orders lose their number; posts of them still find them by their key. -> nothing; counts rows
UPDATE orders o
   SET order_id = %(order_id)s
  FROM unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
 WHERE o.bucket = u.bucket AND o.key = u.key AND o.bucket = ANY (%(touched)s::int[]) AND o.order_id <> %(order_id)s;

-- drop_visitors: those last seen until a moment who denied nothing. -> nothing; counts rows
DELETE FROM visitor v
 USING unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
 WHERE v.bucket = u.bucket AND v.key = u.key AND v.bucket = ANY (%(touched)s::int[])
   AND v.last_seen_at <= %(until)s
   AND NOT v.identifiers @? '$.keyvalue() ? (@.key starts with "consent." && @.value[0] == "denied")';

-- narrow_visitors: of others what was seen until a moment goes, but for what was denied. -> whether nothing else is left
UPDATE visitor v
   SET identifiers = COALESCE((SELECT jsonb_object_agg(n.key, jsonb_set(n.value, '{1}', LEAST(n.value -> 2,
                                          GREATEST(n.value -> 1, to_jsonb(%(erased_ms)s::bigint)))))
                                 FROM jsonb_each(v.identifiers) n
                                WHERE (n.value ->> 2)::bigint > %(until_ms)s
                                   OR (starts_with(n.key, 'consent.') AND n.value ->> 0 = 'denied')), '{}'),
       id = CASE WHEN v.last_seen_at > %(until)s THEN v.id END,
       sealed = CASE WHEN v.sealed_at > %(until)s THEN v.sealed END,
       device = CASE WHEN v.device_at > %(until)s THEN v.device END,
       first_seen_at = %(erased_at)s
  FROM unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
 WHERE v.bucket = u.bucket AND v.key = u.key AND v.bucket = ANY (%(touched)s::int[])
   AND v.first_seen_at < %(until)s
RETURNING v.last_seen_at <= %(until)s;

-- visitors: the next ones of one bucket, in key order; without identifiers: another workspace's. -> key, identifiers
SELECT v.key, CASE WHEN v.workspace_id = %(workspace_id)s THEN v.identifiers END
  FROM visitor v
 WHERE v.bucket = %(bucket)s AND v.key > %(after)s ORDER BY v.key LIMIT %(limit)s;

-- unname_visitor: some identifiers of one visitor go, and what was readable with them. -> nothing; counts rows
UPDATE visitor v
   SET identifiers = v.identifiers - %(names)s::text[],
       sealed = CASE WHEN v.sealed_at > %(erased_at)s THEN v.sealed END
 WHERE v.bucket = %(bucket)s AND v.key = %(key)s;

-- drop_touches: what brought some visitors, within a span of ids. -> nothing; counts rows
DELETE FROM touch t
 USING unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
 WHERE t.bucket = u.bucket AND t.visitor_key = u.key AND t.bucket = ANY (%(touched)s::int[])
   AND t.id BETWEEN %(min_id)s AND %(max_id)s;

-- drop_some_touches: some of those that brought one visitor. -> nothing; counts rows
DELETE FROM touch t
 WHERE t.bucket = %(bucket)s AND t.visitor_key = %(key)s AND t.id = ANY (%(ids)s::uuid[])
   AND t.id BETWEEN %(min_id)s AND %(max_id)s;

-- drop_own_links: a person's links, but for those made since they were erased. -> nothing; counts rows
DELETE FROM link l
 USING unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
 WHERE l.bucket = u.bucket AND l.key = u.key AND l.bucket = ANY (%(touched)s::int[])
   AND l.first_seen_at > %(erased_at)s IS NOT TRUE;

-- drop_links: links of one bucket that are a person's, or lead to their visitors alone, but for those made since they
-- were erased. -> nothing; counts rows
DELETE FROM link l
 WHERE l.bucket = %(bucket)s AND l.first_seen_at > %(erased_at)s IS NOT TRUE
   AND (l.key = ANY (%(keys)s::uuid[])
        OR (l.visitor_key = ANY (%(visitor_keys)s::uuid[]) AND COALESCE(l.others, '{}') <@ %(visitor_keys)s::uuid[]));

-- narrow_links: links of one bucket that lead to others too lead to these alone, but for those made since. -> nothing; counts rows
UPDATE link l
   SET visitor_key = (ARRAY(SELECT a.one FROM unnest(l.visitor_key || COALESCE(l.others, '{}')) a (one)
                             WHERE a.one <> ALL (%(visitor_keys)s::uuid[])))[1],
       others = NULLIF((ARRAY(SELECT a.one FROM unnest(l.visitor_key || COALESCE(l.others, '{}')) a (one)
                               WHERE a.one <> ALL (%(visitor_keys)s::uuid[])))[2:], '{}')
 WHERE l.bucket = %(bucket)s AND l.first_seen_at > %(erased_at)s IS NOT TRUE
   AND (l.visitor_key = ANY (%(visitor_keys)s::uuid[]) OR l.others && %(visitor_keys)s::uuid[]);

-- drop_aliases: what some visitors were proved to be besides, until the erasure. -> nothing; counts rows
DELETE FROM link l
 USING unnest(%(buckets)s::int[], %(keys)s::uuid[], %(highs)s::uuid[]) u (bucket, low, high)
 WHERE l.bucket = u.bucket AND l.key BETWEEN u.low AND u.high AND l.bucket = ANY (%(touched)s::int[])
   AND l.first_seen_at > %(erased_at)s IS NOT TRUE;

-- attempts: what was sent of some events, in one bucket.
-- -> event_id, destination_id, n, at, outcome, reason, head, request, response
SELECT a.event_id, a.destination_id, a.n, a.at, a.outcome, a.reason, a.head, a.request, a.response
  FROM attempt a
 WHERE a.bucket = %(bucket)s AND a.event_id = ANY (%(ids)s::uuid[]) AND a.event_id BETWEEN %(min_id)s AND %(max_id)s
 ORDER BY a.event_id, a.destination_id, a.n;

-- conversions: those of some events. -> event_id, id, goal_id, value, currency, occurred_at
SELECT c.event_id, c.id, c.goal_id, c.value, c.currency, c.occurred_at
  FROM conversion c
  JOIN unnest(%(buckets)s::int[], %(event_ids)s::uuid[], %(lows)s::uuid[], %(highs)s::uuid[])
              u (bucket, event_id, low, high)
    ON c.bucket = u.bucket AND c.id BETWEEN u.low AND u.high AND c.event_id = u.event_id
 WHERE c.bucket = ANY (%(touched)s::int[]) AND c.id BETWEEN %(min_id)s AND %(max_id)s;
