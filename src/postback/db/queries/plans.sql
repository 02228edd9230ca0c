-- insert: -> id, unless there is one of this name
INSERT INTO plan AS p (id, name, monthly_cap, overage, created_at)
VALUES (%(id)s, %(name)s, %(monthly_cap)s, %(overage)s, %(now)s)
ON CONFLICT (name) DO NOTHING RETURNING p.id;

-- read_all: oldest first. -> Plan rows
SELECT id, name, monthly_cap, overage FROM plan ORDER BY created_at, id;

-- update: -> id, unless another has the new name
UPDATE plan p SET name = %(name)s, monthly_cap = %(monthly_cap)s, overage = %(overage)s
 WHERE p.id = %(id)s AND NOT EXISTS (SELECT FROM plan o WHERE o.name = %(name)s AND o.id <> %(id)s) RETURNING p.id;

-- remove: -> nothing
DELETE FROM plan p WHERE p.id = %(id)s;

-- users: workspaces that a plan caps, or a site of theirs. -> workspace id
SELECT w.id FROM workspace w
 WHERE w.plan_id = %(id)s OR EXISTS (SELECT FROM site s WHERE s.workspace_id = w.id AND s.plan_id = %(id)s)
 ORDER BY w.id;
