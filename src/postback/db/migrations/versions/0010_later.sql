-- When a worker last saw that a platform was down; and orders are listed whatever their site, so that a list costs the same
-- however many sites there are. Some databases have these already: 0007 and 0009 held them for a while.
ALTER TABLE lane ADD COLUMN IF NOT EXISTS down_at timestamptz;
DROP INDEX IF EXISTS orders_listed;
CREATE INDEX orders_listed ON orders (bucket, first_seen_at, key);
