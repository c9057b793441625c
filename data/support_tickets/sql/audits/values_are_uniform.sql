SELECT id, tier, order_id, text FROM final
WHERE tier NOT IN ('standard', 'gold')
    OR NOT regexp_matches(coalesce(order_id, 'ORD-00000'), '^ORD-\d{5}$')
    OR regexp_matches(text, '  |\r')
    OR language <> 'en';
