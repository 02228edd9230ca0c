-- insert: -> id, unless the workspace has one of this name
INSERT INTO event_type AS t (id, workspace_id, name, billable, required, created_at)
VALUES (%(id)s, %(workspace_id)s, %(name)s, %(billable)s, %(required)s, %(now)s)
ON CONFLICT (workspace_id, name) DO NOTHING RETURNING t.id;

-- of_workspaces: oldest first. -> EventType rows
SELECT id, workspace_id, name, billable, required FROM event_type
 WHERE workspace_id = ANY (%(workspace_ids)s::uuid[]) ORDER BY created_at, id;

-- update: -> nothing
UPDATE event_type t SET billable = %(billable)s, required = %(required)s
 WHERE t.workspace_id = %(workspace_id)s AND t.id = %(id)s;

-- remove: -> nothing
DELETE FROM event_type t WHERE t.workspace_id = %(workspace_id)s AND t.id = %(id)s;
