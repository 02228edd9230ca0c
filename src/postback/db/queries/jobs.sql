-- insert: -> nothing
INSERT INTO job AS j (bucket, id, workspace_id, kind, filter, status, total, position, created_by, created_at, changed_at)
SELECT k.bucket, %(id)s, %(workspace_id)s, %(kind)s, %(filter)s::text::jsonb, 'running', %(total)s,
       %(position)s::text::jsonb, %(created_by)s, %(now)s, %(now)s
  FROM bucket k WHERE k.bucket = %(bucket)s;

-- read: one job. -> Stored row
SELECT j.id, j.workspace_id, j.kind, j.filter::text, j.status, j.total, j.done, j.skipped, j.position::text, j.reason,
       j.created_by, j.created_at, j.changed_at
  FROM job j WHERE j.bucket = %(bucket)s AND j.id = %(id)s;

-- list_all: jobs of a workspace, newest first, older than %(before)s. -> Stored rows
SELECT j.id, j.workspace_id, j.kind, j.filter::text, j.status, j.total, j.done, j.skipped, j.position::text, j.reason,
       j.created_by, j.created_at, j.changed_at
  FROM job j
 WHERE j.bucket = ANY (%(buckets)s::int[]) AND j.workspace_id = %(workspace_id)s AND j.kind = %(kind)s
   AND j.id < %(before)s
 ORDER BY j.id DESC LIMIT %(limit)s;

-- running: what is to be gone on with, in some buckets, the oldest first. -> id
SELECT j.id FROM job j WHERE j.bucket = ANY (%(buckets)s::int[]) AND j.status = 'running' ORDER BY j.id;

-- hold: a job that runs, locked to the end of the transaction. -> Stored row
SELECT j.id, j.workspace_id, j.kind, j.filter::text, j.status, j.total, j.done, j.skipped, j.position::text, j.reason,
       j.created_by, j.created_at, j.changed_at
  FROM job j WHERE j.bucket = %(bucket)s AND j.id = %(id)s AND j.status = 'running' FOR UPDATE;

-- advance: what a step did. -> nothing
UPDATE job j
   SET done = j.done + %(done)s, skipped = j.skipped + %(skipped)s, position = %(position)s::text::jsonb,
       status = %(status)s, reason = COALESCE(%(reason)s, j.reason), changed_at = %(now)s
 WHERE j.bucket = %(bucket)s AND j.id = %(id)s;

-- move: from one of the states that may lead there. -> id where it moved
UPDATE job j SET status = %(status)s, reason = %(reason)s, changed_at = %(now)s
 WHERE j.bucket = %(bucket)s AND j.id = %(id)s AND j.status = ANY (%(from_statuses)s::text[])
RETURNING j.id;

-- trim: jobs of a time that nothing is kept of, in the order of their ids. -> id
DELETE FROM job j
 WHERE j.bucket = %(bucket)s
   AND j.id = ANY (ARRAY(SELECT o.id FROM job o
                          WHERE o.bucket = %(bucket)s AND o.id > %(after)s AND o.changed_at < %(oldest)s
                            AND o.status <> 'running'
                          ORDER BY o.id LIMIT %(limit)s))
RETURNING j.id;
