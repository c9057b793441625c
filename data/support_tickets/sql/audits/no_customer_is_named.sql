-- Neither name nor address of a customer is left, nor anything that looks like an e-mail address or an IBAN.
SELECT f.id, 'customer ' || c.customer_id AS found
FROM final f JOIN customers_clean c ON contains(lower(f.text), lower(c.name)) OR contains(lower(f.text), c.email)
UNION ALL
SELECT id, 'e-mail address or IBAN' FROM final
WHERE regexp_matches(text, '[\w.+-]+@[\w-]+\.\w+|\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,}');
