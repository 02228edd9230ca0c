-- require: count against limits; a limit that is passed ends the transaction (division by zero). Rows in key order.
-- -> subject, n, ends_at, cap, 1
INSERT INTO rate_window AS t (bucket, subject, ends_at, n, cap)
SELECT k.bucket, u.subject, u.ends_at, u.n, u.cap
  FROM bucket k CROSS JOIN unnest(%(subjects)s::uuid[], %(ends_at)s::timestamptz[], %(counts)s::bigint[],
                                  %(caps)s::bigint[]) u (subject, ends_at, n, cap)
 WHERE k.bucket = %(bucket)s
ON CONFLICT (bucket, subject) DO UPDATE
   SET n = CASE WHEN t.ends_at <= %(now)s THEN excluded.n ELSE t.n + excluded.n END,
       ends_at = CASE WHEN t.ends_at <= %(now)s THEN excluded.ends_at ELSE t.ends_at END,
       cap = excluded.cap
RETURNING t.subject, t.n, t.ends_at, t.cap, 1 / (t.n <= t.cap)::int;

-- add: the same; who asks looks at the totals. -> subject, n, ends_at, cap
INSERT INTO rate_window AS t (bucket, subject, ends_at, n, cap)
SELECT k.bucket, u.subject, u.ends_at, u.n, u.cap
  FROM bucket k CROSS JOIN unnest(%(subjects)s::uuid[], %(ends_at)s::timestamptz[], %(counts)s::bigint[],
                                  %(caps)s::bigint[]) u (subject, ends_at, n, cap)
 WHERE k.bucket = %(bucket)s
ON CONFLICT (bucket, subject) DO UPDATE
   SET n = CASE WHEN t.ends_at <= %(now)s THEN excluded.n ELSE t.n + excluded.n END,
       ends_at = CASE WHEN t.ends_at <= %(now)s THEN excluded.ends_at ELSE t.ends_at END,
       cap = excluded.cap
RETURNING t.subject, t.n, t.ends_at, t.cap;

-- used_by_month: the same of all sites, by UTC month. -> month, n
SELECT u.month, sum(u.n)::bigint
  FROM (SELECT date_trunc('month', t.hour AT TIME ZONE 'UTC') AS month, t.n
          FROM usage t
         WHERE t.bucket = ANY (%(buckets)s::int[]) AND t.hour >= %(since)s AND t.hour < %(until)s
           AND t.workspace_id = %(workspace_id)s AND t.destination_id = ANY (%(site_ids)s::uuid[])
         UNION ALL
        SELECT date_trunc('month', f.hour AT TIME ZONE 'UTC'), f.n
          FROM ledger_hour f
         WHERE f.bucket = ANY (%(buckets)s::int[]) AND f.hour >= %(since)s AND f.hour < %(until)s
           AND f.destination_id = ANY (%(site_ids)s::uuid[]) AND f.status = 'accepted') u
 GROUP BY 1;

-- used: billable events that the writers counted, by site, those of dropped partitions too. -> site, n
SELECT u.site_id, sum(u.n)::bigint
  FROM (SELECT t.destination_id AS site_id, t.n
          FROM usage t
         WHERE t.bucket = ANY (%(buckets)s::int[]) AND t.hour >= %(since)s AND t.hour < %(until)s
           AND t.workspace_id = %(workspace_id)s AND t.destination_id = ANY (%(site_ids)s::uuid[])
         UNION ALL
        SELECT f.destination_id, f.n
          FROM ledger_hour f
         WHERE f.bucket = ANY (%(buckets)s::int[]) AND f.hour >= %(since)s AND f.hour < %(until)s
           AND f.destination_id = ANY (%(site_ids)s::uuid[]) AND f.status = 'accepted') u
 GROUP BY 1;

-- counters: those of some subjects that run. -> subject, n, ends_at, cap
SELECT t.subject, t.n, t.ends_at, t.cap
  FROM rate_window t
 WHERE t.bucket = %(bucket)s AND t.subject = ANY (%(subjects)s::uuid[]) AND t.ends_at > %(now)s;
