ALTER TABLE relay_lease DROP COLUMN ttl;
