-- Which password a session was opened by: none is opened by one that was changed meanwhile. Null: opened before this.
ALTER TABLE session ADD COLUMN password_stamp bytea;
