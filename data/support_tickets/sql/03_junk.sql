-- Why a message is none of a customer; NULL if it is one. The rules are about machines, not about this export.
CREATE MACRO junk(subject, body) AS CASE
    WHEN NOT regexp_matches(body, '\p{L}') THEN 'no words'
    WHEN regexp_matches(body, '\x{FFFD}|Ã[\x{80}-\x{BF}\x{152}-\x{2122}]|â€|ï¿½') THEN 'broken encoding'
    WHEN regexp_matches(body, '^[A-Za-z0-9+/=]{24,}$') THEN 'encoded content'
    WHEN longest_run(body) >= 8 AND length(regexp_replace(body, '\s', '', 'g')) < 80 THEN 'keyboard noise'
    WHEN regexp_matches(lower(body), '^(asdf|qwer|zxcv|yxcv|hjkl|sdfg|dfgh|fghj)\w*$') THEN 'keyboard noise'
    WHEN regexp_matches(lower(body), '^(test|testing|test message|ping)[ .!123]*$') THEN 'test'
    WHEN regexp_matches(lower(body), '^(sent|gesendet|envoyé|enviado) (from|von|de|depuis) (my|meinem|mon|mi) \w+\.?$')
        THEN 'signature only'
    WHEN regexp_matches(lower(subject || ' ' || body),
        'undeliverable|could not be delivered to|delivery status notification|mail delivery (failed|subsystem)|mailer-daemon|mail system at host')
        THEN 'bounce'
    WHEN regexp_matches(lower(subject), '^(automatic reply|auto[- ]?reply|out of (the )?office|abwesenheit|absence)')
        OR regexp_matches(lower(body), '^i am (currently )?out of (the )?office')
        THEN 'automatic reply'
END;
