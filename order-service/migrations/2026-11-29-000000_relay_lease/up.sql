-- One row: which instance publishes the outbox, and until when it may without asking again, by this server's clock. An
-- instance of before this migration publishes without asking; beside it events are repeated, none is lost.
CREATE TABLE relay_lease (
    id integer PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    holder uuid,
    -- For a person: the holder's process and host.
    holder_name text,
    until timestamptz NOT NULL DEFAULT '-infinity',
    since timestamptz,
    -- For a person: the holder reads only rows above it.
    scan_floor bigint NOT NULL DEFAULT 0,
    -- Grows whenever rows of a seq that was drawn long ago come back into the outbox: the holder looks below its floor.
    rescans bigint NOT NULL DEFAULT 0
);
INSERT INTO relay_lease DEFAULT VALUES;
