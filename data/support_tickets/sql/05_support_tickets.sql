-- Nothing is filtered: a row that is left out says why.
CREATE TABLE support_tickets AS
SELECT
    * EXCLUDE (subject),
    CASE
        WHEN junk(subject, text) IS NOT NULL THEN 'junk: ' || junk(subject, text)
        WHEN language <> 'en' THEN 'language'
    END AS drop_reason
FROM messages;
