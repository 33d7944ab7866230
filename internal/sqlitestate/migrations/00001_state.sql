-- +goose Up
CREATE TABLE items (
	kind    TEXT NOT NULL,
	name    TEXT NOT NULL,
	version INTEGER NOT NULL,
	expires INTEGER, -- milliseconds since 1970; NULL: never
	value   BLOB NOT NULL,
	PRIMARY KEY (kind, name)
) STRICT;
CREATE INDEX items_expires ON items (expires) WHERE expires IS NOT NULL;

CREATE TABLE events (
	seq   INTEGER PRIMARY KEY,
	topic TEXT NOT NULL,
	value BLOB NOT NULL,
	at    INTEGER NOT NULL -- milliseconds since 1970
) STRICT;
CREATE INDEX events_at ON events (at);

-- The last version and the last seq that were given out.
CREATE TABLE last (
	one     INTEGER PRIMARY KEY CHECK (one = 1),
	version INTEGER NOT NULL,
	seq     INTEGER NOT NULL
) STRICT;
INSERT INTO last VALUES (1, 0, 0);
