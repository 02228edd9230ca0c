-- insert: -> nothing
INSERT INTO session AS s (bucket, token_sha256, account_id, workspace_id, site_id, created_at, seen_at, expires_at,
                          password_stamp)
SELECT k.bucket, %(token_sha256)s, %(account_id)s, %(workspace_id)s, NULL, %(now)s, %(now)s, %(expires_at)s, %(stamp)s
  FROM bucket k WHERE k.bucket = %(bucket)s;

-- read: with the account, and its role in the workspace that is looked at; none that another password opened.
-- -> Session row
SELECT s.account_id, a.email, s.workspace_id, s.site_id, m.role, s.seen_at
  FROM session s JOIN account a ON a.id = s.account_id
  LEFT JOIN membership m ON m.account_id = s.account_id AND m.workspace_id = s.workspace_id
 WHERE s.bucket = %(bucket)s AND s.token_sha256 = %(token_sha256)s AND s.expires_at > %(now)s
   AND (s.password_stamp IS NULL OR s.password_stamp = sha256(convert_to(a.password_hash, 'UTF8')));

-- keep: seen again. -> nothing
UPDATE session s SET seen_at = %(now)s, expires_at = %(expires_at)s
 WHERE s.bucket = %(bucket)s AND s.token_sha256 = %(token_sha256)s;

-- look_at: another workspace, or another of its sites. -> nothing
UPDATE session s SET workspace_id = %(workspace_id)s, site_id = %(site_id)s
 WHERE s.bucket = %(bucket)s AND s.token_sha256 = %(token_sha256)s;

-- remove: -> nothing
DELETE FROM session s WHERE s.bucket = %(bucket)s AND s.token_sha256 = %(token_sha256)s;

-- remove_of_account: every one of an account. -> nothing
DELETE FROM session s WHERE s.bucket = ANY (%(buckets)s::int[]) AND s.account_id = %(account_id)s;

-- try_sign_in: count an attempt, unless its subject is blocked; after %(free)s in a row each doubles the wait. A day
-- of peace forgives. -> attempts, where it may be tried
INSERT INTO sign_in AS t (bucket, subject, attempts, last_at, blocked_until)
SELECT k.bucket, %(subject)s, 1, %(now)s, %(now)s FROM bucket k WHERE k.bucket = %(bucket)s
ON CONFLICT (bucket, subject) DO UPDATE
   SET attempts = CASE WHEN t.last_at < excluded.last_at - interval '1 day' THEN 1 ELSE t.attempts + 1 END,
       last_at = excluded.last_at,
       blocked_until = excluded.last_at + LEAST(%(longest)s::interval,
           CASE WHEN t.attempts + 1 < %(free)s OR t.last_at < excluded.last_at - interval '1 day' THEN interval '0'
                ELSE interval '1 second' * 2 ^ LEAST(t.attempts + 1 - %(free)s, 30) END)
 WHERE t.blocked_until <= excluded.last_at
RETURNING t.attempts;

-- blocked_until: -> the moment
SELECT t.blocked_until FROM sign_in t WHERE t.bucket = %(bucket)s AND t.subject = %(subject)s;

-- forgive: -> nothing
DELETE FROM sign_in t WHERE t.bucket = %(bucket)s AND t.subject = %(subject)s;

-- forgive_one: one attempt. -> nothing
UPDATE sign_in t SET attempts = GREATEST(t.attempts - 1, 0), blocked_until = %(now)s
 WHERE t.bucket = %(bucket)s AND t.subject = %(subject)s;

-- trim: sessions that ended. -> nothing
DELETE FROM session s WHERE s.bucket = ANY (%(buckets)s::int[]) AND s.expires_at < %(now)s;

-- trim_attempts: those that a day of peace forgave. -> nothing
DELETE FROM sign_in t WHERE t.bucket = ANY (%(buckets)s::int[]) AND t.last_at < %(now)s::timestamptz - interval '1 day';
