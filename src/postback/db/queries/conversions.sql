-- insert_new_orders: orders seen for the first time; one that is known ends the transaction (23505). -> nothing
INSERT INTO orders AS o (bucket, key, site_id, order_id, status, ledger, first_seen_at, changed_at)
SELECT k.bucket, u.key, u.site_id, u.order_id, u.status, u.ledger, %(now)s, %(now)s
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[], %(site_ids)s::uuid[], %(order_ids)s::text[],
                            %(statuses)s::text[], %(ledgers)s::bytea[]) u (bucket, key, site_id, order_id, status, ledger)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[]);

-- lock_orders: some orders as they are, held to the end of the transaction; one that is not known is made, with an empty
-- ledger. Rows in key order. -> key, ledger
INSERT INTO orders AS o (bucket, key, site_id, order_id, status, ledger, first_seen_at, changed_at)
SELECT k.bucket, u.key, u.site_id, u.order_id, 'pending', '', %(now)s, %(now)s
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[], %(site_ids)s::uuid[], %(order_ids)s::text[])
                       u (bucket, key, site_id, order_id)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
ON CONFLICT (bucket, key) DO UPDATE SET changed_at = o.changed_at
RETURNING o.key, o.ledger;

-- write_orders: what became of orders that are held. -> nothing
UPDATE orders o
   SET status = u.status, ledger = u.ledger, changed_at = %(now)s
  FROM unnest(%(buckets)s::int[], %(keys)s::uuid[], %(statuses)s::text[], %(ledgers)s::bytea[])
              u (bucket, key, status, ledger)
 WHERE o.bucket = u.bucket AND o.key = u.key AND o.bucket = ANY (%(touched)s::int[]);

-- insert: conversions of one flush, each in the bucket that its id names. -> nothing
INSERT INTO conversion AS c (bucket, id, workspace_id, site_id, goal_id, event_id, order_key, order_id, value, currency,
                             source, visitor_key, session_id, occurred_at)
SELECT k.bucket, u.id, u.workspace_id, u.site_id, u.goal_id, u.event_id, u.order_key, u.order_id, u.value::numeric,
       u.currency, u.source, u.visitor_key, u.session_id, u.occurred_at
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(ids)s::uuid[], %(workspace_ids)s::uuid[], %(site_ids)s::uuid[],
                            %(goal_ids)s::bigint[], %(event_ids)s::uuid[], %(order_keys)s::uuid[], %(order_ids)s::text[],
                            %(values)s::text[], %(currencies)s::text[], %(sources)s::text[], %(visitor_keys)s::uuid[],
                            %(session_ids)s::text[], %(occurred_at)s::timestamptz[])
                       u (bucket, id, workspace_id, site_id, goal_id, event_id, order_key, order_id, value, currency,
                          source, visitor_key, session_id, occurred_at)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[]);

-- end_sales: deliveries of some events that are still open end as skipped. -> nothing
UPDATE delivery d
   SET status = 'skipped', reason = %(reason)s, settled_at = %(now)s
  FROM unnest(%(buckets)s::int[], %(ids)s::uuid[]) u (bucket, event_id)
 WHERE d.bucket = u.bucket AND d.event_id = u.event_id AND d.bucket = ANY (%(touched)s::int[])
   AND d.event_id BETWEEN %(min_id)s AND %(max_id)s AND d.status IN ('queued', 'retrying');

-- read_orders: some orders. -> Order rows
SELECT o.key, o.site_id, o.order_id, o.status, o.ledger, o.first_seen_at, o.changed_at
  FROM orders o JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
    ON o.bucket = u.bucket AND o.key = u.key
 WHERE o.bucket = ANY (%(touched)s::int[]);

-- worth: some orders, and the status from which their sites count. -> key, ledger, order_counts_from
SELECT o.key, o.ledger, s.order_counts_from
  FROM orders o JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
    ON o.bucket = u.bucket AND o.key = u.key
  JOIN site s ON s.id = o.site_id
 WHERE o.bucket = ANY (%(touched)s::int[]);

-- read: -> Conversion row
SELECT c.id, c.event_id, c.goal_id, c.site_id, c.order_key, c.order_id, c.value, c.currency, c.source, c.visitor_key,
       c.session_id, c.occurred_at
  FROM conversion c
 WHERE c.bucket = %(bucket)s AND c.id = %(id)s AND c.id BETWEEN %(min_id)s AND %(max_id)s
   AND c.workspace_id = %(workspace_id)s;

-- received: those of some buckets within a span of ids. -> Conversion rows
SELECT c.id, c.event_id, c.goal_id, c.site_id, c.order_key, c.order_id, c.value, c.currency, c.source, c.visitor_key,
       c.session_id, c.occurred_at
  FROM conversion c
 WHERE c.bucket = ANY (%(buckets)s::int[]) AND c.id >= %(low)s AND c.id < %(high)s;

-- list_all: a workspace's conversions, newest first, of the newest %(examined)s of each bucket. -> Conversion rows
SELECT c.id, c.event_id, c.goal_id, c.site_id, c.order_key, c.order_id, c.value, c.currency, c.source, c.visitor_key,
       c.session_id, c.occurred_at
  FROM bucket k CROSS JOIN LATERAL
       (SELECT n.id, n.event_id, n.goal_id, n.site_id, n.order_key, n.order_id, n.value, n.currency, n.source,
               n.visitor_key, n.session_id, n.occurred_at
          FROM (SELECT t.id, t.workspace_id, t.event_id, t.goal_id, t.site_id, t.order_key, t.order_id, t.value,
                       t.currency, t.source, t.visitor_key, t.session_id, t.occurred_at
                  FROM conversion t WHERE t.bucket = k.bucket AND t.id BETWEEN %(min_id)s AND %(max_id)s
                 ORDER BY t.id DESC LIMIT %(examined)s) n
         WHERE n.workspace_id = %(workspace_id)s
           AND (%(goal_id)s::bigint IS NULL OR n.goal_id = %(goal_id)s)
           AND (%(site_id)s::uuid IS NULL OR n.site_id = %(site_id)s)
           AND (%(order_id)s::text IS NULL OR n.order_id = %(order_id)s)
           AND (%(event_id)s::uuid IS NULL OR n.event_id = %(event_id)s)
           AND (%(visitor_key)s::uuid IS NULL OR n.visitor_key = %(visitor_key)s
                OR n.session_id = ANY (%(session_ids)s::text[]))
         ORDER BY n.id DESC LIMIT %(limit)s) c
 ORDER BY c.id DESC LIMIT %(limit)s;

-- list_floor: down to where list_all has examined every bucket; no row: to the end. -> id
SELECT f.id
  FROM bucket k CROSS JOIN LATERAL
       (SELECT t.id FROM conversion t WHERE t.bucket = k.bucket AND t.id BETWEEN %(min_id)s AND %(max_id)s
         ORDER BY t.id DESC OFFSET %(examined)s::int - 1 LIMIT 1) f
 ORDER BY f.id DESC LIMIT 1;

-- list_orders: orders of some sites below (first_seen_at, key), first seen last first, of the newest %(examined)s of each
-- bucket. -> Order rows
SELECT o.key, o.site_id, o.order_id, o.status, o.ledger, o.first_seen_at, o.changed_at
  FROM bucket k
 CROSS JOIN LATERAL
       (SELECT n.key, n.site_id, n.order_id, n.status, n.ledger, n.first_seen_at, n.changed_at
          FROM (SELECT t.key, t.site_id, t.order_id, t.status, t.ledger, t.first_seen_at, t.changed_at
                  FROM orders t
                 WHERE t.bucket = k.bucket AND t.bucket = ANY (%(buckets)s::int[])
                   AND t.first_seen_at >= %(since)s AND (t.first_seen_at, t.key) < (%(before_at)s, %(before)s)
                 ORDER BY t.first_seen_at DESC, t.key DESC LIMIT %(examined)s) n
         WHERE n.site_id = ANY (%(site_ids)s::uuid[]) AND (%(status)s::text IS NULL OR n.status = %(status)s)
         ORDER BY n.first_seen_at DESC, n.key DESC LIMIT %(limit)s) o
 WHERE k.bucket = ANY (%(buckets)s::int[])
 ORDER BY o.first_seen_at DESC, o.key DESC LIMIT %(limit)s;

-- orders_floor: down to where list_orders has examined every bucket; no row: to the end. -> first_seen_at, key
SELECT f.first_seen_at, f.key
  FROM bucket k
 CROSS JOIN LATERAL
       (SELECT t.first_seen_at, t.key
          FROM orders t
         WHERE t.bucket = k.bucket AND t.bucket = ANY (%(buckets)s::int[])
           AND t.first_seen_at >= %(since)s AND (t.first_seen_at, t.key) < (%(before_at)s, %(before)s)
         ORDER BY t.first_seen_at DESC, t.key DESC OFFSET %(examined)s::int - 1 LIMIT 1) f
 WHERE k.bucket = ANY (%(buckets)s::int[])
 ORDER BY f.first_seen_at DESC, f.key DESC LIMIT 1;
