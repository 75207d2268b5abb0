-- For how long the holder has the lease from the moment it asked, so that an end that is much further away (the server's
-- clock was ahead, and was set back) is not waited for. NULL: the holder is an instance of before this migration.
ALTER TABLE relay_lease ADD COLUMN ttl interval;
