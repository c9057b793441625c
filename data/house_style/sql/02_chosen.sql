-- Clean passages of articles that no suite asks about; of each article the two with the most kinds of rarely seen places.
CREATE TABLE chosen AS
WITH judged AS (
    SELECT
        passages.*,
        CASE
            WHEN held_out.article_id IS NOT NULL THEN 'held out: a suite asks about this article'
            WHEN len(string_split(edited, ' ')) NOT BETWEEN 12 AND 45 THEN 'length: not 12 to 45 words'
            WHEN breaks_a_rule(edited) THEN 'style: may break a house rule itself'
        END AS unfit
    FROM passages
    LEFT JOIN held_out ON held_out.article_id = passages.article_id
),
ranked AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY article_id, unfit IS NULL ORDER BY spot_count(edited) DESC, sha256(id)
        ) AS rank
    FROM judged
)
SELECT
    id,
    article_id,
    edited,
    coalesce(unfit, CASE WHEN rank > 2 THEN 'enough: two passages of the article are taken' END) AS drop_reason
FROM ranked
ORDER BY id;
