-- One or two lines of an article (a line is mostly a sentence), no line twice; every fifth one ends in mid-sentence, as
-- a draft does that was written under a limit of length.
CREATE TABLE passages AS
WITH lines AS (
    SELECT
        articles.id AS article_id,
        unnest(string_split(document, chr(10))) AS line,
        generate_subscripts(string_split(document, chr(10)), 1) AS place
    FROM articles
),
plain AS (
    -- The source writes "5%", the house writes "5 per cent".
    SELECT
        article_id,
        place,
        regexp_replace(trim(regexp_replace(line, '\s+', ' ', 'g')), '(\d)\s*%', '\1 per cent', 'g') AS line
    FROM lines
    -- What the web page says of its player, its newsletter and the like is no part of the article, and returns in others.
    WHERE NOT contains(line, 'Media playback is')
    QUALIFY count(DISTINCT article_id) OVER (PARTITION BY trim(line)) = 1
),
put_together AS (
    SELECT
        article_id || '/' || lpad(place::VARCHAR, 3, '0') AS id,
        article_id,
        place,
        CASE
            WHEN substr(sha256(article_id || place), 1, 1) < '8' THEN line
            ELSE concat_ws(' ', line, lead(line) OVER (PARTITION BY article_id ORDER BY place))
        END AS text
    FROM plain
)
SELECT
    id,
    article_id,
    CASE
        WHEN substr(sha256('cut ' || id), 1, 1) < 'd' THEN text
        ELSE array_to_string(list_slice(string_split(text, ' '), 1, len(string_split(text, ' ')) - 4), ' ')
    END AS edited
FROM put_together
WHERE place % 2 = 1
ORDER BY id;
