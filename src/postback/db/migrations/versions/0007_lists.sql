-- Lists: events by the key that sent them.

-- The API key's; of the tag's events the site's, whose public key they bear. Null: stored before this was kept.
ALTER TABLE event ADD key_id uuid;
