ALTER TABLE outbox DROP CONSTRAINT outbox_seq_positive;
