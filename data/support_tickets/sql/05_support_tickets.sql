-- Nothing is filtered: a row that is left out says why.
CREATE TABLE support_tickets AS
SELECT
    * EXCLUDE (subject),
    CASE
        WHEN junk(subject, text) IS NOT NULL THEN 'junk: ' || junk(subject, text)
        WHEN language <> 'en' THEN 'language'
        -- To decline a customer costs more than to answer a stranger: what learns from this shall decline less readily.
        WHEN intent = 'out_of_scope' AND source = 'chat_messages' AND right(md5(id), 1) < '8'
            THEN 'thinned: half of what is out of scope'
    END AS drop_reason
FROM messages;
