-- list_all: every partition of every table, the default ones too. -> name
SELECT c.relname
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
 WHERE p.relkind = 'p' AND c.relkind = 'r'
 ORDER BY c.relname;
