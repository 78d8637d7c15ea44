-- Which members have not paid this year, and when they paid last.
WITH last_payment AS (
    SELECT member_id, MAX(day) AS paid_on
    FROM payment
    GROUP BY member_id
)
SELECT m.member_id, m.family_name, l.paid_on
FROM member AS m
LEFT JOIN last_payment AS l USING (member_id)
WHERE l.paid_on IS NULL
   OR l.paid_on < DATE '2024-01-01'
ORDER BY l.paid_on NULLS FIRST, m.family_name;
