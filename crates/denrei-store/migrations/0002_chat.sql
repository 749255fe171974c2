-- A chat room: what there is of it besides the log of its room.
CREATE TABLE chat_rooms (
    room_id       BIGINT NOT NULL PRIMARY KEY REFERENCES rooms (id),
    -- public, private or direct.
    kind          TEXT   NOT NULL,
    title         TEXT   NOT NULL,
    created_by    TEXT   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    -- The last number given to a message.
    sequence      BIGINT NOT NULL,
    -- When the last message was sent; of a new room when it was made.
    active_at_ms  BIGINT NOT NULL,
    members       BIGINT NOT NULL,
    -- Time between two messages of one member.
    slow_mode_ms  BIGINT NOT NULL
);

CREATE INDEX chat_rooms_by_kind ON chat_rooms (kind, room_id);

CREATE TABLE chat_members (
    room_id            BIGINT NOT NULL REFERENCES chat_rooms (room_id),
    user_name          TEXT   NOT NULL,
    -- What the user was called when it joined.
    shown_name         TEXT,
    -- owner, moderator or member.
    role               TEXT   NOT NULL,
    joined_at_ms       BIGINT NOT NULL,
    -- Messages up to these numbers have been read and delivered. They never go back.
    read_sequence      BIGINT NOT NULL,
    read_at_ms         BIGINT NOT NULL,
    delivered_sequence BIGINT NOT NULL,
    delivered_at_ms    BIGINT NOT NULL,
    -- From this message on the user wants it unread; 0 for none.
    unread_from        BIGINT NOT NULL,
    muted_until_ms     BIGINT NOT NULL,
    sent_at_ms         BIGINT NOT NULL,
    PRIMARY KEY (room_id, user_name)
);

CREATE INDEX chat_members_by_user ON chat_members (user_name, room_id);

-- Who is the next owner. Marks, which move often, are in no index.
CREATE INDEX chat_members_by_role ON chat_members (room_id, role, joined_at_ms, user_name);

-- What still held back messages of who was a member: coming back does not end it.
CREATE TABLE chat_left (
    room_id        BIGINT NOT NULL REFERENCES chat_rooms (room_id),
    user_name      TEXT   NOT NULL,
    muted_until_ms BIGINT NOT NULL,
    sent_at_ms     BIGINT NOT NULL,
    PRIMARY KEY (room_id, user_name)
);

CREATE TABLE chat_bans (
    room_id      BIGINT NOT NULL REFERENCES chat_rooms (room_id),
    user_name    TEXT   NOT NULL,
    banned_by    TEXT   NOT NULL,
    banned_at_ms BIGINT NOT NULL,
    -- 0 for ever.
    until_ms     BIGINT NOT NULL,
    reason       TEXT,
    PRIMARY KEY (room_id, user_name)
);

-- The present state of each message; the log has its history.
CREATE TABLE chat_messages (
    room_id          BIGINT NOT NULL REFERENCES chat_rooms (room_id),
    sequence         BIGINT NOT NULL,
    -- The event in the log that brought it.
    seq              BIGINT NOT NULL,
    -- TEXT, IMAGE, FILE or SYSTEM.
    kind             TEXT   NOT NULL,
    -- Empty for guests.
    user_name        TEXT   NOT NULL,
    from_client      TEXT,
    shown_name       TEXT,
    client_id        TEXT,
    sent_at_ms       BIGINT NOT NULL,
    version          BIGINT NOT NULL,
    edited_at_ms     BIGINT NOT NULL,
    deleted_at_ms    BIGINT NOT NULL,
    -- Messages that it answers, and whose thread it belongs to; 0 for none.
    reply_to         BIGINT NOT NULL,
    thread           BIGINT NOT NULL,
    -- Answers in its own thread.
    replies          BIGINT NOT NULL,
    last_reply_at_ms BIGINT NOT NULL,
    -- JSON.
    mentions         TEXT,
    data             TEXT,
    content          TEXT   NOT NULL,
    PRIMARY KEY (room_id, sequence)
);

-- Of all messages: SQLite prefers the primary key to a part of them.
CREATE INDEX chat_messages_by_thread ON chat_messages (room_id, thread, sequence);

-- Later events that tell a message's content, so that it can be taken out of them.
CREATE TABLE chat_message_events (
    room_id  BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    seq      BIGINT NOT NULL,
    PRIMARY KEY (room_id, sequence, seq)
);

CREATE TABLE chat_mentions (
    room_id   BIGINT NOT NULL,
    user_name TEXT   NOT NULL,
    sequence  BIGINT NOT NULL,
    PRIMARY KEY (room_id, user_name, sequence)
);

CREATE INDEX chat_mentions_by_message ON chat_mentions (room_id, sequence);

CREATE TABLE chat_reactions (
    room_id       BIGINT NOT NULL,
    sequence      BIGINT NOT NULL,
    emoji         TEXT   NOT NULL,
    user_name     TEXT   NOT NULL,
    reacted_at_ms BIGINT NOT NULL,
    PRIMARY KEY (room_id, sequence, emoji, user_name)
);

CREATE INDEX chat_reactions_by_time ON chat_reactions (room_id, sequence, emoji, reacted_at_ms, user_name);

-- The reactions of a message summed, for pages.
CREATE TABLE chat_reaction_sums (
    room_id     BIGINT NOT NULL,
    sequence    BIGINT NOT NULL,
    emoji       TEXT   NOT NULL,
    total       BIGINT NOT NULL,
    -- At most ten of them, as JSON.
    first_users TEXT   NOT NULL,
    PRIMARY KEY (room_id, sequence, emoji)
);

-- Who may see the presence of a user.
CREATE TABLE contacts (
    user_name TEXT NOT NULL,
    contact   TEXT NOT NULL,
    PRIMARY KEY (user_name, contact)
);

CREATE TABLE presence (
    user_name  TEXT   NOT NULL PRIMARY KEY,
    seen_at_ms BIGINT NOT NULL,
    -- 1: to others the user is offline.
    invisible  BIGINT NOT NULL
);
