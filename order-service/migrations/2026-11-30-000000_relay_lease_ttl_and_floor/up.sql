ALTER TABLE relay_lease
    -- For how long the holder has the lease from the moment it asked, so that an end that is much further away (the server's
    -- clock was ahead, and was set back) is not waited for. NULL: the holder is an instance of before this migration.
    ADD COLUMN ttl interval,
    -- Every row up to it is published, and no longer on its way: whoever publishes next, and whoever asks for the oldest row,
    -- begins there, and does not wade through what vacuum may not remove yet. It holds as long as rescans is what it was then.
    ADD COLUMN published_up_to bigint NOT NULL DEFAULT 0,
    ADD COLUMN published_at_rescans bigint NOT NULL DEFAULT 0;
