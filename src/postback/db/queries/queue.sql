-- insert_events: rows of one flush, all in its bucket. -> nothing
INSERT INTO event AS e (bucket, id, workspace_id, site_id, name, event_id, order_id, body, sealed, visitor_bucket,
                        visitor_key, links)
SELECT k.bucket, u.id, u.workspace_id, u.site_id, u.name, u.event_id, u.order_id, u.body, u.sealed, u.visitor_bucket,
       u.visitor_key, string_to_array(u.links, ' ')::uuid[]
  FROM bucket k CROSS JOIN
       unnest(%(ids)s::uuid[], %(workspace_ids)s::uuid[], %(site_ids)s::uuid[], %(names)s::text[], %(event_ids)s::text[],
              %(order_ids)s::text[], %(bodies)s::bytea[], %(sealed)s::bytea[], %(visitor_buckets)s::int[],
              %(visitor_keys)s::uuid[], %(links)s::text[])
              u (id, workspace_id, site_id, name, event_id, order_id, body, sealed, visitor_bucket, visitor_key, links)
 WHERE k.bucket = %(bucket)s;

-- insert_deliveries: rows of one flush, all in its bucket. -> nothing
INSERT INTO delivery AS d (bucket, event_id, destination_id, status, due_at, reason, settled_at)
SELECT k.bucket, u.event_id, u.destination_id, u.status, u.due_at, u.reason,
       CASE WHEN u.status = 'skipped' THEN u.due_at END
  FROM bucket k CROSS JOIN
       unnest(%(event_ids)s::uuid[], %(destination_ids)s::uuid[], %(statuses)s::text[], %(due_at)s::timestamptz[],
              %(reasons)s::text[]) u (event_id, destination_id, status, due_at, reason)
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
SELECT e.id, e.workspace_id, e.site_id, e.name, e.event_id, e.order_id, e.body, e.notes
  FROM event e WHERE e.bucket = %(bucket)s AND e.id = %(id)s AND e.id BETWEEN %(min_id)s AND %(max_id)s;
