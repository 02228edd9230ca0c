-- A platform that does not answer, or answers 5xx: since when, and its last word. Null: it answers.
ALTER TABLE lane
    ADD down_since  timestamptz,
    ADD down_reason text;
