CREATE TABLE house_style AS
SELECT
    id,
    article_id,
    messy_draft(edited, id) AS draft,
    edited,
    broken_rules(edited, id) AS rules,
    drop_reason
FROM chosen
ORDER BY id;
