-- revision: the last migration that was run. -> version_num
SELECT version_num FROM alembic_version;
