-- Members of the consumer group that run now: where they are asked, and which partitions they read.
CREATE TABLE members (
    instance TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    partitions TEXT NOT NULL,
    seen_at BIGINT NOT NULL
);
