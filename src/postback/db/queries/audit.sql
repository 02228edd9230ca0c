-- insert: -> nothing
INSERT INTO audit (id, workspace_id, actor, action, noun, noun_id, before, after)
VALUES (%(id)s, %(workspace_id)s, %(actor)s, %(action)s, %(noun)s, %(noun_id)s, %(before)s::jsonb, %(after)s::jsonb);

-- read: newest first. -> Entry rows
SELECT id, actor, action, noun, noun_id, before::text, after::text
  FROM audit
 WHERE workspace_id = %(workspace_id)s AND id < %(before_id)s
   AND (%(noun)s::text IS NULL OR noun = %(noun)s) AND (%(noun_id)s::text IS NULL OR noun_id = %(noun_id)s)
 ORDER BY id DESC LIMIT %(limit)s;
