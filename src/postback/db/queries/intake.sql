-- insert_dedup: file events under their keys; rows in key order. -> bucket, key of the winners, the rest are repeats
INSERT INTO dedup AS t (bucket, key, event_id, answer_id, body_hash)
SELECT k.bucket, u.key, u.event_id, u.answer_id, u.body_hash
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[], %(event_ids)s::uuid[], %(answer_ids)s::uuid[],
                            %(body_hashes)s::bigint[]) u (bucket, key, event_id, answer_id, body_hash)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[])
ON CONFLICT DO NOTHING
RETURNING t.key;

-- insert_new: file events under keys that are new; one that is not ends the transaction (23505). -> nothing
INSERT INTO dedup AS t (bucket, key, event_id, answer_id, body_hash)
SELECT k.bucket, u.key, u.event_id, u.answer_id, u.body_hash
  FROM bucket k JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[], %(event_ids)s::uuid[], %(answer_ids)s::uuid[],
                            %(body_hashes)s::bigint[]) u (bucket, key, event_id, answer_id, body_hash)
    ON u.bucket = k.bucket
 WHERE k.bucket = ANY (%(touched)s::int[]);

-- find_dedup: the first events under some keys. -> key, event_id, body_hash, answer_id
SELECT t.key, t.event_id, t.body_hash, t.answer_id
  FROM dedup t JOIN unnest(%(buckets)s::int[], %(keys)s::uuid[]) u (bucket, key) ON t.bucket = u.bucket AND t.key = u.key
 WHERE t.bucket = ANY (%(touched)s::int[]);

-- find_by_sender_id: events filed under an id of the sender's, whatever their names. -> event_id
SELECT t.event_id FROM dedup t WHERE t.bucket = %(bucket)s AND t.key BETWEEN %(low)s AND %(high)s;

-- trim: dedup rows of events older than the retention, in key order. -> key
DELETE FROM dedup t
 WHERE t.bucket = %(bucket)s
   AND t.key = ANY (ARRAY(SELECT o.key FROM dedup o
                           WHERE o.bucket = %(bucket)s AND o.key > %(after)s AND o.event_id < %(oldest)s
                           ORDER BY o.key LIMIT %(limit)s))
RETURNING t.key;
