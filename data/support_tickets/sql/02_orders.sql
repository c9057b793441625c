-- The order number however it was typed: ORD- and five digits, or what stood there if it is none.
CREATE MACRO order_number(typed) AS
    coalesce('ORD-' || nullif(regexp_extract(typed, '(?i)^\s*(?:ord)?[-. ]*(\d{5})\s*$', 1), ''), typed);

-- A carrier is called what it is called most often.
CREATE TABLE orders_clean AS
WITH spelt AS (
    SELECT *, regexp_replace(lower(carrier), '[^a-z]', '', 'g') AS squeezed FROM orders
)
SELECT
    order_number(order_id) AS order_id,
    customer_id,
    status,
    replace(amount, ',', '.')::DECIMAL(10, 2) AS amount,
    mode(carrier ORDER BY carrier) OVER (PARTITION BY squeezed) AS carrier
FROM spelt;
