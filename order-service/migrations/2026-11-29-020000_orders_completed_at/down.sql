DROP INDEX orders_completed_at;
