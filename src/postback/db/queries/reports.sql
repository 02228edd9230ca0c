-- clocks: up to where the hours of some buckets are closed; a bucket without a row was never counted. -> bucket, closed_until
SELECT c.bucket, c.closed_until FROM rollup_clock c WHERE c.bucket = ANY (%(buckets)s::int[]);

-- set_clocks: -> nothing
INSERT INTO rollup_clock AS c (bucket, closed_until)
SELECT k.bucket, %(closed_until)s::timestamptz FROM bucket k WHERE k.bucket = ANY (%(buckets)s::int[])
ON CONFLICT (bucket) DO UPDATE SET closed_until = excluded.closed_until;

-- newest: the newest of what is counted, of some buckets within an hour. -> bucket, conversion, touch, event, usage
SELECT k.bucket, c.id, t.id, e.id, u.n
  FROM bucket k CROSS JOIN LATERAL
       (SELECT max(n.id::text) AS id
          FROM (SELECT x.id FROM conversion x
                 WHERE x.bucket = k.bucket AND x.id >= %(low)s AND x.id < %(high)s ORDER BY x.id DESC LIMIT 1) n) c
       CROSS JOIN LATERAL
       (SELECT max(n.id::text) AS id
          FROM (SELECT x.id FROM touch x
                 WHERE x.bucket = k.bucket AND x.id >= %(low)s AND x.id < %(high)s ORDER BY x.id DESC LIMIT 1) n) t
       CROSS JOIN LATERAL
       (SELECT max(n.id::text) AS id
          FROM (SELECT x.id FROM event x
                 WHERE x.bucket = k.bucket AND x.id >= %(low)s AND x.id < %(high)s ORDER BY x.id DESC LIMIT 1) n) e
       CROSS JOIN LATERAL
       (SELECT sum(x.n)::bigint AS n FROM usage x WHERE x.bucket = k.bucket AND x.hour = %(hour)s) u
 WHERE k.bucket = ANY (%(buckets)s::int[]);

-- oldest: the oldest of what is counted, of some buckets from a moment on. -> bucket, its hour or null
SELECT k.bucket, LEAST(c.at, t.at, e.at, u.at)
  FROM bucket k CROSS JOIN LATERAL
       (SELECT min(n.at) AS at
          FROM (SELECT to_timestamp(('x' || substr(x.id::text, 1, 8) || substr(x.id::text, 10, 4))::bit(48)::bigint
                                    / 3600000 * 3600) AS at FROM conversion x
                 WHERE x.bucket = k.bucket AND x.id >= %(low)s AND x.id < %(high)s ORDER BY x.id LIMIT 1) n) c
       CROSS JOIN LATERAL
       (SELECT min(n.at) AS at
          FROM (SELECT to_timestamp(('x' || substr(x.id::text, 1, 8) || substr(x.id::text, 10, 4))::bit(48)::bigint
                                    / 3600000 * 3600) AS at FROM touch x
                 WHERE x.bucket = k.bucket AND x.id >= %(low)s AND x.id < %(high)s ORDER BY x.id LIMIT 1) n) t
       CROSS JOIN LATERAL
       (SELECT min(n.at) AS at
          FROM (SELECT to_timestamp(('x' || substr(x.id::text, 1, 8) || substr(x.id::text, 10, 4))::bit(48)::bigint
                                    / 3600000 * 3600) AS at FROM event x
                 WHERE x.bucket = k.bucket AND x.id >= %(low)s AND x.id < %(high)s ORDER BY x.id LIMIT 1) n) e
       CROSS JOIN LATERAL
       (SELECT min(n.hour) AS at
          FROM (SELECT x.hour FROM usage x
                 WHERE x.bucket = k.bucket AND x.hour >= %(since)s AND x.hour < %(until)s ORDER BY x.hour LIMIT 1) n) u
 WHERE k.bucket = ANY (%(buckets)s::int[]);

-- due: hours to count again. -> bucket, hour, id
SELECT d.bucket, d.hour, d.id FROM dirty_hour d
 WHERE d.bucket = ANY (%(buckets)s::int[]) AND d.due_at <= %(now)s
 ORDER BY d.due_at LIMIT %(limit)s;

-- mark: hours of some buckets to count again. -> nothing
INSERT INTO dirty_hour AS d (bucket, hour, id, due_at)
SELECT k.bucket, u.hour, %(id)s, u.due_at
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(hours)s::timestamptz[], %(due_at)s::timestamptz[]) u (bucket, hour, due_at)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
ON CONFLICT (bucket, hour, id) DO UPDATE SET due_at = excluded.due_at;

-- mark_site: every hour in which something of a site was counted, or of none, which may go by its clock. -> nothing
INSERT INTO dirty_hour AS d (bucket, hour, id, due_at)
SELECT DISTINCT k.bucket, r.received_hour, %(id)s::uuid, %(now)s::timestamptz
  FROM bucket k JOIN rollup r ON r.bucket = k.bucket
 WHERE k.bucket = ANY (%(buckets)s::int[]) AND r.workspace_id = %(workspace_id)s
   AND (r.site_id = %(site_id)s OR r.site_id IS NULL)
ON CONFLICT (bucket, hour, id) DO UPDATE SET due_at = excluded.due_at;

-- unmark: marks that were read. -> nothing
DELETE FROM dirty_hour d
 USING unnest(%(buckets)s::int[], %(hours)s::timestamptz[], %(ids)s::uuid[]) u (bucket, hour, id)
 WHERE d.bucket = u.bucket AND d.hour = u.hour AND d.id = u.id AND d.bucket = ANY (%(touched)s::int[]);

-- sessions: those that began within a span of ids, by quarter of the hour.
-- -> bucket, workspace_id, site_id, source, medium, campaign, quarter, n
SELECT t.bucket, t.workspace_id, t.site_id, t.source, t.medium, t.campaign, extract(minute FROM t.at)::int / 15, count(*)
  FROM touch t
 WHERE t.bucket = ANY (%(buckets)s::int[]) AND t.id >= %(low)s AND t.id < %(high)s
   AND t.kind = 'session' AND NOT t.is_bot
 GROUP BY 1, 2, 3, 4, 5, 6, 7;

-- told: some events of a span of ids. -> id, body
SELECT e.id, e.body
  FROM event e JOIN unnest(%(buckets)s::int[], %(ids)s::uuid[]) u (bucket, id) ON e.bucket = u.bucket AND e.id = u.id
 WHERE e.bucket = ANY (%(touched)s::int[]) AND e.id BETWEEN %(min_id)s AND %(max_id)s;

-- deliveries: those of events received within a span of ids. -> bucket, destination_id, status, n
SELECT d.bucket, d.destination_id, d.status, count(*)
  FROM delivery d
 WHERE d.bucket = ANY (%(buckets)s::int[]) AND d.event_id >= %(low)s AND d.event_id < %(high)s
 GROUP BY 1, 2, 3;

-- events: what the writers at home in some buckets counted in an hour. -> bucket, workspace_id, counted, n
SELECT u.bucket, u.workspace_id, u.destination_id, sum(u.n)::bigint
  FROM usage u
 WHERE u.bucket = ANY (%(buckets)s::int[]) AND u.hour = %(hour)s
 GROUP BY 1, 2, 3;

-- workspaces: of all destinations, removed ones too. -> id, workspace_id
SELECT d.id, d.workspace_id FROM destination d;

-- counted: what stands of an hour in some buckets.
-- -> bucket, workspace_id, day, hour, kind, site_id, goal_id, source, medium, campaign, label, currency, destination_id,
--    status, n, converted, converted_any, revenue
SELECT r.bucket, r.workspace_id, r.day, r.hour, r.kind, r.site_id, r.goal_id, r.source, r.medium, r.campaign, r.label,
       r.currency, r.destination_id, r.status, r.n, r.converted, r.converted_any, r.revenue
  FROM rollup r
 WHERE r.bucket = ANY (%(buckets)s::int[]) AND r.received_hour = %(received_hour)s;

-- forget: what stands of some kinds of an hour. -> nothing
DELETE FROM rollup r
 USING unnest(%(buckets)s::int[], %(kinds)s::text[]) u (bucket, kind)
 WHERE r.bucket = u.bucket AND r.bucket = ANY (%(touched)s::int[]) AND r.received_hour = %(received_hour)s
   AND r.kind = u.kind;

-- insert: what was counted of an hour. -> nothing
INSERT INTO rollup AS r (bucket, received_hour, kind, place, workspace_id, day, hour, site_id, goal_id, source, medium,
                         campaign, label, currency, destination_id, status, n, converted, converted_any, revenue)
SELECT k.bucket, %(received_hour)s, u.kind, u.place, u.workspace_id, u.day::date, u.hour, u.site_id, u.goal_id, u.source,
       u.medium, u.campaign, u.label, u.currency, u.destination_id, u.status, u.n, u.converted, u.converted_any,
       u.revenue::numeric
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(kinds)s::text[], %(places)s::int[], %(workspace_ids)s::uuid[],
                            %(days)s::text[], %(hours)s::timestamptz[], %(site_ids)s::uuid[], %(goal_ids)s::bigint[],
                            %(sources)s::text[], %(mediums)s::text[], %(campaigns)s::text[], %(labels)s::text[],
                            %(currencies)s::text[], %(destination_ids)s::uuid[], %(statuses)s::text[], %(ns)s::bigint[],
                            %(converted)s::bigint[], %(converted_any)s::bigint[], %(revenues)s::text[])
                       u (bucket, kind, place, workspace_id, day, hour, site_id, goal_id, source, medium, campaign, label,
                          currency, destination_id, status, n, converted, converted_any, revenue)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[]);

-- mark_totals: hours of some workspaces to sum again. -> nothing
INSERT INTO dirty_total AS d (bucket, workspace_id, hour, id)
SELECT k.bucket, u.workspace_id, u.hour, %(id)s
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(workspace_ids)s::uuid[], %(hours)s::timestamptz[])
                       u (bucket, workspace_id, hour)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
ON CONFLICT (bucket, workspace_id, hour, id) DO NOTHING;

-- dirty_totals: hours to sum again, the newest first. -> bucket, workspace_id, hour, id
SELECT d.bucket, d.workspace_id, d.hour, d.id
  FROM dirty_total d WHERE d.bucket = ANY (%(buckets)s::int[]) ORDER BY d.hour DESC LIMIT %(limit)s;

-- unmark_total: marks of an hour that were read. -> nothing
DELETE FROM dirty_total d
 WHERE d.bucket = %(bucket)s AND d.workspace_id = %(workspace_id)s AND d.hour = %(hour)s AND d.id = ANY (%(ids)s::uuid[]);

-- sum_hour: a workspace's hour over all buckets, in each cut.
-- -> cut, day, kind, site_id, goal_id, source, medium, campaign, label, currency, destination_id, status, n, converted,
--    converted_any, revenue
SELECT c.cut, r.day, r.kind, r.site_id, r.goal_id, CASE WHEN c.cut = 'channel' THEN r.source END,
       CASE WHEN c.cut = 'channel' THEN r.medium END, CASE WHEN c.cut = 'channel' THEN r.campaign END,
       CASE WHEN c.cut = 'label' THEN r.label END, r.currency, r.destination_id, r.status, sum(r.n)::bigint,
       sum(r.converted)::bigint, sum(r.converted_any)::bigint, sum(r.revenue)
  FROM rollup r
  JOIN (VALUES ('total'), ('label'), ('channel')) c (cut)
    ON c.cut = 'total' OR r.kind = 'conversion' OR (c.cut = 'channel' AND r.kind = 'session')
 WHERE r.bucket = ANY (%(buckets)s::int[]) AND r.workspace_id = %(workspace_id)s AND r.hour = %(hour)s
 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12;

-- forget_hour: the days that it was in. -> day
DELETE FROM hourly d
 WHERE d.bucket = %(bucket)s AND d.workspace_id = %(workspace_id)s AND d.cut = ANY (%(cuts)s::text[]) AND d.hour = %(hour)s
RETURNING d.day;

-- insert_hour: -> nothing
INSERT INTO hourly AS d (bucket, workspace_id, hour, cut, day, place, kind, site_id, goal_id, source, medium, campaign, label,
                         currency, destination_id, status, n, converted, converted_any, revenue)
SELECT k.bucket, %(workspace_id)s, %(hour)s, u.cut, u.day::date, u.place, u.kind, u.site_id, u.goal_id, u.source, u.medium,
       u.campaign, u.label, u.currency, u.destination_id, u.status, u.n, u.converted, u.converted_any, u.revenue::numeric
  FROM bucket k CROSS JOIN unnest(%(cuts)s::text[], %(days)s::text[], %(kinds)s::text[], %(places)s::int[],
                                  %(site_ids)s::uuid[], %(goal_ids)s::bigint[], %(sources)s::text[], %(mediums)s::text[],
                                  %(campaigns)s::text[], %(labels)s::text[], %(currencies)s::text[],
                                  %(destination_ids)s::uuid[], %(statuses)s::text[], %(ns)s::bigint[],
                                  %(converted)s::bigint[], %(converted_any)s::bigint[], %(revenues)s::text[])
                           u (cut, day, kind, place, site_id, goal_id, source, medium, campaign, label, currency,
                              destination_id, status, n, converted, converted_any, revenue)
 WHERE k.bucket = %(bucket)s;

-- sum_day: a workspace's day; its hours lie between `since` and `until`, whatever the site's clock. -> as sum_hour
SELECT r.cut, r.day, r.kind, r.site_id, r.goal_id, r.source, r.medium, r.campaign, r.label, r.currency, r.destination_id,
       r.status, sum(r.n)::bigint, sum(r.converted)::bigint, sum(r.converted_any)::bigint, sum(r.revenue)
  FROM hourly r
 WHERE r.bucket = %(bucket)s AND r.workspace_id = %(workspace_id)s AND r.cut = ANY (%(cuts)s::text[])
   AND r.day = %(day)s AND r.hour >= %(since)s AND r.hour < %(until)s
 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12;

-- sum_week: a week of one workspace, named by its Monday. -> as sum_hour
SELECT 'week_' || r.cut, %(day)s::date, r.kind, r.site_id, r.goal_id, r.source, r.medium, r.campaign, r.label, r.currency,
       r.destination_id, r.status, sum(r.n)::bigint, sum(r.converted)::bigint, sum(r.converted_any)::bigint, sum(r.revenue)
  FROM daily r
 WHERE r.bucket = %(bucket)s AND r.workspace_id = %(workspace_id)s AND r.cut = ANY (%(cuts)s::text[])
   AND r.day >= %(day)s::date AND r.day < %(day)s::date + 7
 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12;

-- forget_day: of days, or of weeks, as `cuts` says. -> nothing
DELETE FROM daily d
 WHERE d.bucket = %(bucket)s AND d.workspace_id = %(workspace_id)s AND d.cut = ANY (%(cuts)s::text[]) AND d.day = %(day)s;

-- insert_day: -> nothing
INSERT INTO daily AS d (bucket, workspace_id, cut, day, place, kind, site_id, goal_id, source, medium, campaign, label,
                         currency, destination_id, status, n, converted, converted_any, revenue)
SELECT k.bucket, %(workspace_id)s, u.cut, u.day::date, u.place, u.kind, u.site_id, u.goal_id, u.source, u.medium,
       u.campaign, u.label, u.currency, u.destination_id, u.status, u.n, u.converted, u.converted_any, u.revenue::numeric
  FROM bucket k CROSS JOIN unnest(%(cuts)s::text[], %(days)s::text[], %(kinds)s::text[], %(places)s::int[],
                                  %(site_ids)s::uuid[], %(goal_ids)s::bigint[], %(sources)s::text[], %(mediums)s::text[],
                                  %(campaigns)s::text[], %(labels)s::text[], %(currencies)s::text[],
                                  %(destination_ids)s::uuid[], %(statuses)s::text[], %(ns)s::bigint[],
                                  %(converted)s::bigint[], %(converted_any)s::bigint[], %(revenues)s::text[])
                           u (cut, day, kind, place, site_id, goal_id, source, medium, campaign, label, currency,
                              destination_id, status, n, converted, converted_any, revenue)
 WHERE k.bucket = %(bucket)s;

-- sums: one cut of some spans of time, by what is asked for: weeks and days, and hours of some sites that are added or
-- taken away. A row that belongs to no site has the id zero. OFFSET keeps each stretch a read of its own,
-- by its key; a place is an xid because these cannot be sorted by: groups are found by hash, whatever the plan expects.
-- -> place, day, hour, kind, site_id, goal_id, source, medium, campaign, label, currency, destination_id, status, n,
--    converted, converted_any, revenue
SELECT r.place::text::int, CASE WHEN %(by_day)s THEN r.day END, CASE WHEN %(by_hour)s THEN r.hour END, r.kind,
       CASE WHEN %(by_site)s THEN r.site_id END, CASE WHEN %(by_goal)s THEN r.goal_id END, r.source, r.medium, r.campaign,
       r.label, r.currency, CASE WHEN %(by_destination)s THEN r.destination_id END, r.status, sum(r.n)::bigint,
       sum(r.converted)::bigint, sum(r.converted_any)::bigint, sum(r.revenue)
  FROM (SELECT s.place, d.*
          FROM unnest(%(days_place)s::text[]::xid[], %(days_cut)s::text[], %(days_since)s::date[], %(days_until)s::date[])
               s (place, cut, since, until)
         CROSS JOIN LATERAL
               (SELECT t.day, NULL::timestamptz AS hour, t.kind, t.site_id, t.goal_id, t.source, t.medium, t.campaign,
                       t.label, t.currency, t.destination_id, t.status, t.n, t.converted, t.converted_any, t.revenue
                  FROM daily t
                 WHERE t.bucket = %(bucket)s AND t.workspace_id = %(workspace_id)s AND t.cut = s.cut
                   AND t.day >= s.since AND t.day < s.until AND t.kind = ANY (%(kinds)s::text[])
                   AND coalesce(t.site_id, '00000000-0000-0000-0000-000000000000') = ANY (%(site_ids)s::uuid[])
                   AND (t.kind <> 'conversion'
                        OR ((%(goal_id)s::bigint IS NULL OR t.goal_id = %(goal_id)s)
                            AND (%(currency)s::text IS NULL OR t.currency = %(currency)s)))
                OFFSET 0) d
         UNION ALL
        SELECT s.place, h.day, h.hour, h.kind, h.site_id, h.goal_id, h.source, h.medium, h.campaign, h.label, h.currency,
               h.destination_id, h.status, s.sign * h.n, s.sign * h.converted, s.sign * h.converted_any,
               s.sign * h.revenue
          FROM (SELECT u.place, u.sign, u.sites::uuid[] AS sites, u.since, u.until
                  FROM unnest(%(hours_place)s::text[]::xid[], %(hours_sign)s::int[], %(hours_sites)s::text[],
                              %(hours_since)s::timestamptz[], %(hours_until)s::timestamptz[])
                       u (place, sign, sites, since, until)
                OFFSET 0) s
         CROSS JOIN LATERAL
               (SELECT t.*
                  FROM hourly t
                 WHERE t.bucket = %(bucket)s AND t.workspace_id = %(workspace_id)s AND t.cut = %(cut)s
                   AND t.hour >= s.since AND t.hour < s.until AND t.kind = ANY (%(kinds)s::text[])
                   AND coalesce(t.site_id, '00000000-0000-0000-0000-000000000000') = ANY (s.sites)
                   AND (t.kind <> 'conversion'
                        OR ((%(goal_id)s::bigint IS NULL OR t.goal_id = %(goal_id)s)
                            AND (%(currency)s::text IS NULL OR t.currency = %(currency)s)))
                OFFSET 0) h) r
 GROUP BY r.place, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
HAVING sum(r.n) <> 0;

-- last_hour: the last hour in which events of a workspace were counted. -> hour, or no row
SELECT t.hour FROM hourly t
 WHERE t.bucket = %(bucket)s AND t.workspace_id = %(workspace_id)s AND t.cut = 'total' AND t.kind = 'event'
 ORDER BY t.hour DESC LIMIT 1;

-- trim: hours whose time is over. -> nothing; counts rows
DELETE FROM rollup r WHERE r.bucket = ANY (%(buckets)s::int[]) AND r.received_hour < %(oldest)s;

-- trim_totals: -> nothing; counts rows
DELETE FROM hourly d WHERE d.bucket = ANY (%(buckets)s::int[]) AND d.hour < %(oldest)s;

-- trim_days: -> nothing; counts rows
DELETE FROM daily d WHERE d.bucket = ANY (%(buckets)s::int[]) AND d.day < %(oldest)s;
