-- lay: identifiers of an erased person; the newest erasure counts, and what was asked for once stays so. -> nothing
INSERT INTO tombstone AS t (bucket, key, is_seed, erased_at)
SELECT k.bucket, u.key, u.is_seed, %(erased_at)s
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[], %(seeds)s::boolean[]) u (bucket, key, is_seed)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
ON CONFLICT (bucket, key) DO UPDATE
   SET is_seed = t.is_seed OR excluded.is_seed, erased_at = GREATEST(t.erased_at, excluded.erased_at);

-- find: of some identifiers, those of erased people. -> key, is_seed, erased_at
SELECT t.key, t.is_seed, t.erased_at
  FROM tombstone t JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key)
    ON t.bucket = u.bucket AND t.key = u.key
 WHERE t.bucket = ANY (%(touched)s::int[]);
