-- Segments as they are now; one row each. Works on SQLite and on PostgreSQL.
CREATE TABLE segments (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    description TEXT NOT NULL,
    origin TEXT NOT NULL,
    active BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);

-- Every change ever made, in order: the audit log, and all versions.
CREATE TABLE changes (
    revision BIGINT PRIMARY KEY,
    segment_id TEXT NOT NULL,
    name TEXT NOT NULL,
    action TEXT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    active BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE INDEX changes_of_a_segment ON changes (segment_id, revision);

-- The number of changes. Every change updates this row first, so that changes come one after the other.
CREATE TABLE catalog_state (id BIGINT PRIMARY KEY, revision BIGINT NOT NULL);
INSERT INTO catalog_state (id, revision) VALUES (1, 0);
