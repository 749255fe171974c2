-- A file that was uploaded: what is known of it. Its bytes are an object elsewhere, under its id.
CREATE TABLE files (
    id            TEXT   NOT NULL PRIMARY KEY,
    -- Whose it is; empty for guests.
    user_name     TEXT   NOT NULL,
    -- The room whose readers may have it.
    room          TEXT,
    shown_name    TEXT   NOT NULL,
    -- What it is, by its first bytes.
    type          TEXT   NOT NULL,
    -- Of one that is pending, what is set aside for it.
    bytes         BIGINT NOT NULL,
    sha256        TEXT,
    -- Of images; 0 for unknown.
    width         BIGINT NOT NULL,
    height        BIGINT NOT NULL,
    -- The type of its thumbnail.
    thumbnail     TEXT,
    -- pending, arrived, stored or removed.
    state         TEXT   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    -- When it goes; 0 for never.
    until_ms      BIGINT NOT NULL
);

CREATE INDEX files_by_end ON files (until_ms, id) WHERE until_ms > 0;

-- How many bytes a user has, those set aside included; each file counts as 4,096 at least.
CREATE TABLE file_users (
    user_name TEXT   NOT NULL PRIMARY KEY,
    bytes     BIGINT NOT NULL
);
