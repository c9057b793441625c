-- Every row that was read is in the mart's table, kept or with a reason.
SELECT ticket_id FROM tickets WHERE ticket_id NOT IN (SELECT id FROM support_tickets)
UNION ALL
SELECT 'L-' || lpad(_line::VARCHAR, 5, '0') FROM labelled_messages
WHERE 'L-' || lpad(_line::VARCHAR, 5, '0') NOT IN (SELECT id FROM support_tickets)
UNION ALL
SELECT message_id FROM chat_messages WHERE message_id NOT IN (SELECT id FROM support_tickets);
