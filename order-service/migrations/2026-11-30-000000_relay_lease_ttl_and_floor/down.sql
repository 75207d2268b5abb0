ALTER TABLE relay_lease DROP COLUMN ttl, DROP COLUMN published_up_to, DROP COLUMN published_at_rescans;
