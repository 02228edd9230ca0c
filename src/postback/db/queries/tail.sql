-- newest: events of a span of ids, the oldest %(limit)s of each bucket, oldest first. -> id, name, event_id
SELECT e.id, e.name, e.event_id
  FROM bucket k CROSS JOIN LATERAL
       (SELECT t.id, t.name, t.event_id FROM event t
         WHERE t.bucket = k.bucket AND t.id BETWEEN %(min_id)s AND %(max_id)s
         ORDER BY t.id LIMIT %(limit)s) e
 ORDER BY e.id;
