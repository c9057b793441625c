CREATE MACRO tidy(text) AS trim(regexp_replace(text, '\s+', ' ', 'g'));

-- All sources in one shape. The oldest one knows neither customer nor ticket: each of its rows is a group of its own.
CREATE TABLE messages AS
SELECT
    t.ticket_id AS id,
    'tickets' AS source,
    t.customer_id AS group_id,
    tidy(coalesce(t.subject, '')) AS subject,
    tidy(t.body) AS text,
    trim(t.intent) AS intent,
    trim(t.urgency) AS urgency,
    trim(t.action) AS action,
    t.channel,
    coalesce(c.tier, 'standard') AS tier,
    lower(t.language) AS language,
    order_number(t.order_id) AS order_id,
    o.status AS order_status
FROM tickets t
LEFT JOIN customers_clean c ON c.customer_id = t.customer_id
LEFT JOIN orders_clean o ON o.order_id = order_number(t.order_id)
UNION ALL
SELECT
    'L-' || lpad(_line::VARCHAR, 5, '0'),
    'labelled_messages',
    'L-' || lpad(_line::VARCHAR, 5, '0'),
    '',
    tidy(text),
    trim(intent),
    NULL,
    NULL,
    'chat',
    'standard',
    'en',
    NULL,
    NULL
FROM labelled_messages
UNION ALL
SELECT
    message_id,
    'chat_messages',
    visitor_id,
    '',
    tidy(text),
    trim(intent),
    trim(urgency),
    trim(action),
    'chat',
    'standard',
    'en',
    NULL,
    NULL
FROM chat_messages;
