-- insert: -> id, unless there is an account of this email
INSERT INTO account AS a (id, email, password_hash, created_at)
VALUES (%(id)s, %(email)s, %(password_hash)s, %(now)s) ON CONFLICT (email) DO NOTHING RETURNING a.id;

-- by_email: -> Account row
SELECT id, email, password_hash FROM account WHERE email = %(email)s;

-- by_id: -> Account row
SELECT id, email, password_hash FROM account WHERE id = %(id)s;

-- list_all: every account, once for each workspace that it is a member of. -> Listed rows
SELECT a.email, w.name, m.role
  FROM account a LEFT JOIN membership m ON m.account_id = a.id LEFT JOIN workspace w ON w.id = m.workspace_id
 ORDER BY a.email, w.created_at, w.id;

-- set_password: -> id, unless it was changed meanwhile; `before` null: whatever it was
UPDATE account a SET password_hash = %(password_hash)s
 WHERE a.id = %(id)s AND a.password_hash = COALESCE(%(before)s::text, a.password_hash)
RETURNING a.id;

-- insert_member: -> id, unless the account is one already
INSERT INTO membership AS m (id, account_id, workspace_id, role, created_at)
VALUES (%(id)s, %(account_id)s, %(workspace_id)s, %(role)s, %(now)s)
ON CONFLICT (account_id, workspace_id) DO NOTHING RETURNING m.id;

-- members: of a workspace, oldest first; invitations too, with the time until which they hold. -> Member rows
SELECT m.id, a.email, m.role, m.created_at, NULL::timestamptz
  FROM membership m JOIN account a ON a.id = m.account_id WHERE m.workspace_id = %(workspace_id)s
UNION ALL
SELECT i.id, i.email, i.role, i.created_at, i.expires_at FROM invitation i WHERE i.workspace_id = %(workspace_id)s
 ORDER BY 4, 1;

-- workspaces_of: what an account is a member of, oldest first. -> id, name, role
SELECT w.id, w.name, m.role FROM membership m JOIN workspace w ON w.id = m.workspace_id
 WHERE m.account_id = %(account_id)s ORDER BY w.created_at, w.id;

-- set_role: -> nothing
UPDATE membership m SET role = %(role)s WHERE m.workspace_id = %(workspace_id)s AND m.id = %(id)s;

-- set_invited_role: -> nothing
UPDATE invitation i SET role = %(role)s WHERE i.workspace_id = %(workspace_id)s AND i.id = %(id)s;

-- remove_member: -> nothing
DELETE FROM membership m WHERE m.workspace_id = %(workspace_id)s AND m.id = %(id)s;

-- invite: another invitation of the same email is replaced. -> nothing
INSERT INTO invitation AS i (id, workspace_id, email, role, token_sha256, created_at, expires_at)
VALUES (%(id)s, %(workspace_id)s, %(email)s, %(role)s, %(token_sha256)s, %(now)s, %(expires_at)s)
ON CONFLICT (workspace_id, email) DO UPDATE
   SET id = excluded.id, role = excluded.role, token_sha256 = excluded.token_sha256, created_at = excluded.created_at,
       expires_at = excluded.expires_at;

-- invitation: one that still holds. -> Invitation row
SELECT i.id, i.workspace_id, w.name, i.email, i.role FROM invitation i JOIN workspace w ON w.id = i.workspace_id
 WHERE i.token_sha256 = %(token_sha256)s AND i.expires_at > %(now)s;

-- take_invitation: -> id where it was still there
DELETE FROM invitation i WHERE i.token_sha256 = %(token_sha256)s AND i.expires_at > %(now)s RETURNING i.id;

-- remove_invitation: -> nothing
DELETE FROM invitation i WHERE i.workspace_id = %(workspace_id)s AND i.id = %(id)s;
