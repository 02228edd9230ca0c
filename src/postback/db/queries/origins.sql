-- file: origins that one process refused, at their places, written over what was there. -> nothing
INSERT INTO refused_origin AS t (bucket, site_id, writer, place, origin, since, last_at)
SELECT k.bucket, u.site_id, %(writer)s, u.place, u.origin, u.since, u.last_at
  FROM bucket k
  JOIN unnest(%(buckets)s::int[], %(site_ids)s::uuid[], %(places)s::int[], %(origins)s::text[], %(since)s::timestamptz[],
              %(last_at)s::timestamptz[]) u (bucket, site_id, place, origin, since, last_at) ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(buckets)s::int[])
ON CONFLICT (bucket, site_id, writer, place) DO UPDATE
      SET origin = excluded.origin, since = excluded.since, last_at = excluded.last_at;

-- of_site: origins that were refused since %(oldest)s, the latest first. -> Refused rows
SELECT t.origin, min(t.since), max(t.last_at)
  FROM refused_origin t
 WHERE t.bucket = %(bucket)s AND t.site_id = %(site_id)s AND t.last_at > %(oldest)s
 GROUP BY t.origin ORDER BY max(t.last_at) DESC, t.origin LIMIT %(limit)s;

-- trim: those that were last refused before %(oldest)s. -> nothing
DELETE FROM refused_origin t WHERE t.bucket = ANY (%(buckets)s::int[]) AND t.last_at < %(oldest)s;
