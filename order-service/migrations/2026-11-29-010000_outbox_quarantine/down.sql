-- Refused while rows are in quarantine: they are events that nobody has published.
DO $$ BEGIN
    IF EXISTS (SELECT FROM outbox_quarantine) THEN
        RAISE EXCEPTION 'rows are in quarantine: release or discard them first';
    END IF;
END $$;
DROP TABLE outbox_quarantine;
