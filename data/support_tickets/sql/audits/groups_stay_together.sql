SELECT group_id, list(DISTINCT split) AS splits FROM final GROUP BY group_id HAVING count(DISTINCT split) > 1;
