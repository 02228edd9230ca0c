-- insert: -> id
INSERT INTO goal AS g (workspace_id, site_id, name, events, filter, default_value, currency, active, window_days,
                       direct_rule, created_at)
VALUES (%(workspace_id)s, %(site_id)s, %(name)s, %(events)s, %(filter)s, %(default_value)s, %(currency)s, %(active)s,
        %(window_days)s, %(direct_rule)s, %(now)s)
RETURNING g.id;

-- read_all: of some workspaces, in the order of their numbers. -> Goal rows
SELECT id, workspace_id, site_id, name, events, filter, default_value, currency, active, window_days, direct_rule
  FROM goal WHERE workspace_id = ANY (%(workspace_ids)s::uuid[]) AND removed_at IS NULL ORDER BY id;

-- update: -> nothing
UPDATE goal g SET name = %(name)s, events = %(events)s, filter = %(filter)s, default_value = %(default_value)s,
                  currency = %(currency)s, active = %(active)s, window_days = %(window_days)s,
                  direct_rule = %(direct_rule)s
 WHERE g.workspace_id = %(workspace_id)s AND g.id = %(id)s;

-- remove: -> nothing
UPDATE goal g SET removed_at = %(now)s WHERE g.workspace_id = %(workspace_id)s AND g.id = %(id)s;
