-- One day's conversions: power(k + 1, random) is each number up to k, the small ones most often.
SELECT setseed(0.5);
CREATE TEMP TABLE chosen AS
SELECT c.hour, g.site_id, g.id AS goal_id, c.channel, c.label, c.worth,
       CASE WHEN g.id % 3 = 0 AND c.channel % 2 = 0 THEN 'EUR' ELSE 'USD' END AS currency
  FROM (SELECT n % 24 AS hour, floor(power($goals + 1, random())) AS goal,
               floor(power($channels + 1, random()))::int AS channel,
               'label' || floor(power($labels + 1, random())) AS label, round((random() * 100)::numeric, 2) AS worth
          FROM generate_series(1, $conversions) n) c
  JOIN (SELECT id, site_id, row_number() OVER (ORDER BY id) AS goal FROM goal) g USING (goal);

-- What reports keep of such a day, by the hour.
CREATE TEMP TABLE cell AS
SELECT 'total' AS cut, hour, 'conversion' AS kind, site_id, goal_id, NULL::int AS channel, NULL AS label, currency,
       NULL::uuid AS destination_id, NULL AS status, count(*) AS n, sum(worth) AS revenue
  FROM chosen GROUP BY hour, site_id, goal_id, currency
 UNION ALL
SELECT 'label', hour, 'conversion', site_id, goal_id, NULL, label, currency, NULL, NULL, count(*), sum(worth)
  FROM chosen GROUP BY hour, site_id, goal_id, label, currency
 UNION ALL
SELECT 'channel', hour, 'conversion', site_id, goal_id, channel, NULL, currency, NULL, NULL, count(*), sum(worth)
  FROM chosen GROUP BY hour, site_id, goal_id, channel, currency
 UNION ALL
SELECT 'total', hour, 'session', site_id, NULL, NULL, NULL, NULL, NULL, NULL, 8 * count(*), 0
  FROM chosen GROUP BY hour, site_id
 UNION ALL
SELECT 'channel', hour, 'session', site_id, NULL, channel, NULL, NULL, NULL, NULL, 8 * count(*), 0
  FROM chosen GROUP BY hour, site_id, channel
 UNION ALL
SELECT 'total', hour, 'delivery', NULL, NULL, NULL, NULL, NULL, d.id, s.status, $events / 24 / s.share, 0
  FROM generate_series(0, 23) hour, destination d, (VALUES ('delivered', 1), ('skipped', 20), ('failed', 1000)) s (status, share)
 UNION ALL
SELECT 'total', hour, 'event', id, NULL, NULL, NULL, NULL, NULL, NULL, $events / 24 / $sites, 0
  FROM generate_series(0, 23) hour, site;

-- Hours of some days, each by the clock of its site; what belongs to none goes by UTC.
INSERT INTO hourly (bucket, workspace_id, hour, day, cut, place, kind, site_id, goal_id, source, medium, campaign, label,
                    currency, destination_id, status, n, converted, converted_any, revenue)
SELECT $bucket, '$workspace', at, (at AT TIME ZONE timezone)::date, cut, row_number() OVER (), kind, site_id, goal_id,
       'source' || channel, CASE WHEN channel % 3 > 0 THEN 'cpc' END, CASE WHEN channel % 2 > 0 THEN 'spring' || channel END,
       label, currency, destination_id, status, n, CASE WHEN kind = 'conversion' THEN n ELSE 0 END,
       CASE WHEN kind = 'conversion' THEN n ELSE 0 END, revenue
  FROM (SELECT c.*, coalesce(s.timezone, 'UTC') AS timezone,
               date_trunc('hour', ('$today'::timestamptz + (c.hour - 24 * day) * interval '1 hour')
                                  AT TIME ZONE coalesce(s.timezone, 'UTC')) AT TIME ZONE coalesce(s.timezone, 'UTC') AS at
          FROM unnest(ARRAY[$days]) day CROSS JOIN cell c LEFT JOIN site s ON s.id = c.site_id) c
 WHERE at <= now()
 ORDER BY at, cut;

-- Whole days, and the present ones as far as they have come.
INSERT INTO daily (bucket, workspace_id, day, cut, place, kind, site_id, goal_id, source, medium, campaign, label,
                   currency, destination_id, status, n, converted, converted_any, revenue)
SELECT bucket, workspace_id, day + shift, cut, row_number() OVER (), kind, site_id, goal_id, source, medium, campaign, label,
       currency, destination_id, status, n, converted, converted_any, revenue
  FROM (SELECT bucket, workspace_id, day, cut, kind, site_id, goal_id, source, medium, campaign, label, currency,
               destination_id, status, sum(n) AS n, sum(converted) AS converted, sum(converted_any) AS converted_any,
               sum(revenue) AS revenue
          FROM hourly WHERE day >= '$today'::date - 3 AND cut IN ('total', 'label', 'channel')
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14) d,
       generate_series(-$all_days, 0) shift
 WHERE shift = 0 OR day = '$today'::date - 3
 ORDER BY day + shift, cut;
INSERT INTO daily (bucket, workspace_id, day, cut, place, kind, site_id, goal_id, source, medium, campaign, label,
                   currency, destination_id, status, n, converted, converted_any, revenue)
SELECT bucket, workspace_id, date_trunc('week', day)::date, 'week_' || cut, row_number() OVER (), kind, site_id, goal_id,
       source, medium, campaign, label, currency, destination_id, status, sum(n), sum(converted), sum(converted_any),
       sum(revenue)
  FROM daily
 GROUP BY 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
 ORDER BY 3, 4;
VACUUM ANALYZE hourly, daily;
