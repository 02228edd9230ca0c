-- arrived: events of some workspaces in a span of ids, newest first, of the newest %(examined)s of each bucket.
-- -> id, workspace_id, site_id, key_id, name
SELECT e.id, e.workspace_id, e.site_id, e.key_id, e.name
  FROM bucket k CROSS JOIN LATERAL
       (SELECT t.id, t.workspace_id, t.site_id, t.key_id, t.name FROM event t
         WHERE t.bucket = k.bucket AND t.id BETWEEN %(min_id)s AND %(max_id)s
         ORDER BY t.id DESC LIMIT %(examined)s) e
 WHERE e.workspace_id = ANY (%(workspace_ids)s::uuid[])
 ORDER BY e.id DESC LIMIT %(limit)s;

-- newest: events of a span of ids, the oldest %(limit)s of each bucket, oldest first. -> id, name, event_id
SELECT e.id, e.name, e.event_id
  FROM bucket k CROSS JOIN LATERAL
       (SELECT t.id, t.name, t.event_id FROM event t
         WHERE t.bucket = k.bucket AND t.id BETWEEN %(min_id)s AND %(max_id)s
         ORDER BY t.id LIMIT %(limit)s) e
 ORDER BY e.id;
