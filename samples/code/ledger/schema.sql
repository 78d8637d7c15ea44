-- The ledger of a small club. Money is kept in cents, so that sums are exact.
CREATE TABLE account (
    account_id  INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL CHECK (kind IN ('asset', 'income', 'expense'))
);

CREATE TABLE posting (
    posting_id  INTEGER PRIMARY KEY,
    account_id  INTEGER NOT NULL REFERENCES account (account_id),
    day         DATE NOT NULL,
    cents       BIGINT NOT NULL CHECK (cents <> 0),
    note        TEXT NOT NULL DEFAULT ''
);

CREATE INDEX posting_by_day ON posting (account_id, day);

CREATE VIEW balance AS
SELECT a.name,
       COALESCE(SUM(p.cents), 0) / 100.0 AS amount,
       COUNT(p.posting_id) AS postings
FROM account AS a
LEFT JOIN posting AS p USING (account_id)
GROUP BY a.account_id, a.name;
