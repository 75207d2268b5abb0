-- Whoever publishes reads from above 0, so a row of a lower seq, which the sequence never draws, would wait for ever and unnoticed.
-- Rows that stand are not looked at, so the table is locked for a moment only.
ALTER TABLE outbox ADD CONSTRAINT outbox_seq_positive CHECK (seq > 0) NOT VALID;
