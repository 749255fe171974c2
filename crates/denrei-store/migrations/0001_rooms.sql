-- Counters that are no room's own. `room` is the last id given to a room.
CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO counters (name, value) VALUES ('room', 0);

-- A room is made by its first event and never removed: its numbers must not begin again in the same epoch.
CREATE TABLE rooms (
    id    BIGINT NOT NULL PRIMARY KEY,
    name  TEXT   NOT NULL UNIQUE,
    -- The part of the name before its first colon; empty when it has none.
    class TEXT   NOT NULL,
    -- The last number given.
    head  BIGINT NOT NULL
);

CREATE INDEX rooms_by_class ON rooms (class, id);

CREATE TABLE events (
    room_id     BIGINT NOT NULL REFERENCES rooms (id),
    seq         BIGINT NOT NULL,
    event       TEXT   NOT NULL,
    from_client TEXT,
    -- Empty for anonymous senders, who share one scope of client ids.
    user_name   TEXT   NOT NULL,
    client_id   TEXT,
    sent_at_ms  BIGINT NOT NULL,
    -- Last, so that the columns before it are read without it.
    payload     BLOB   NOT NULL,
    PRIMARY KEY (room_id, seq)
);

-- A client's id makes a resend harmless for as long as the event is kept.
CREATE UNIQUE INDEX events_by_client_id ON events (room_id, user_name, client_id) WHERE client_id IS NOT NULL;
