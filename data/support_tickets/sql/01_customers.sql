-- One spelling for each tier, country and date.
CREATE TABLE customers_clean AS
SELECT
    customer_id,
    name,
    lower(trim(email)) AS email,
    lower(trim(tier)) AS tier,
    upper(trim(country)) AS country,
    coalesce(try_strptime(trim(since), '%Y-%m-%d'), try_strptime(trim(since), '%d.%m.%Y'))::DATE AS since
FROM customers;
