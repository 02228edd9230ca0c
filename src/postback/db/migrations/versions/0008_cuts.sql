-- Rows cut by goal, label and channel at once are as many as their product. No report asks for labels by channel, so
-- sums are kept thrice, each cut by less:
--   total    neither label nor channel; deliveries and events are here alone
--   label    conversions by goal and label
--   channel  conversions by goal and channel, sessions by channel
-- Whole weeks are in `daily` as well, under their Monday, as week_total and so on.
-- What was summed before is summed again from `rollup`.
INSERT INTO dirty_total (bucket, workspace_id, hour, id)
SELECT DISTINCT bucket, workspace_id, hour, '00000000-0000-0000-0000-000000000003'::uuid FROM hourly
ON CONFLICT DO NOTHING;
TRUNCATE hourly, daily;
ALTER TABLE hourly ADD COLUMN cut text NOT NULL;
ALTER TABLE hourly ADD CONSTRAINT hourly_cut CHECK (cut IN ('total', 'label', 'channel'));
ALTER TABLE hourly DROP CONSTRAINT hourly_pkey;
ALTER TABLE hourly ADD PRIMARY KEY (bucket, workspace_id, cut, hour, place);
ALTER TABLE daily ADD COLUMN cut text NOT NULL;
ALTER TABLE daily ADD CONSTRAINT daily_cut
    CHECK (cut IN ('total', 'label', 'channel', 'week_total', 'week_label', 'week_channel'));
ALTER TABLE daily DROP CONSTRAINT daily_pkey;
ALTER TABLE daily ADD PRIMARY KEY (bucket, workspace_id, cut, day, place);
