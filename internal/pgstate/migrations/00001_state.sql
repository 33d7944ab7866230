-- +goose Up
CREATE TABLE state_items (
	kind    text COLLATE "C" NOT NULL,
	name    text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	expires bigint, -- milliseconds since 1970; NULL: never
	value   bytea NOT NULL,
	PRIMARY KEY (kind, name)
);
CREATE INDEX state_items_expires ON state_items (expires) WHERE expires IS NOT NULL;

CREATE SEQUENCE state_versions;

CREATE TABLE state_events (
	seq   bigint PRIMARY KEY,
	topic text NOT NULL,
	value bytea NOT NULL,
	at    bigint NOT NULL -- milliseconds since 1970
);
CREATE INDEX state_events_at ON state_events (at);

-- The seq of the newest event. Who appends holds its only row until the
-- commit, so that events become visible in order.
CREATE TABLE state_last (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	seq bigint NOT NULL
);
INSERT INTO state_last (seq) VALUES (0);
