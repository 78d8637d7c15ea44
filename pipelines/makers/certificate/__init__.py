"""The certificate of near dedup: what it did to *this* corpus, measured on samples, with 95% intervals.

Definitions, all after exact dedup:

- A *true pair* at t: two different documents whose shingle sets (`kernels.shingles`) have a Jaccard similarity of at
  least t. Measured from 0.5 up.
- A pair is *resolved* where not both of its documents are kept, *found by bands* where it shares a band key.
- *Recall* at t: resolved / all true pairs at t of the whole corpus. Estimated from sampled *queries*, each compared
  with every document, exactly (`probe`); a query brings all pairs it is in, and the ratio of weighted sums over
  queries is the ratio over pairs, since every pair has two ends (`intervals`).
- The *empirical S-curve*: found by bands / true pairs, by bins of 0.05, beside `1 - (1 - s**r)**b`.
- *Precision*: of the dropped documents, the share whose similarity with their keeper, recomputed from the text by a
  second implementation that shares no code with the first (`oracle`), is at least `min_jaccard`. Documents that were
  dropped for one of an earlier release, whose text is not there, are counted apart with the error of their sketch.

Samples are stratified by source, language and length (`sampling`), by a hash of source and id: the same for any
shards, workers and order. Modules: `frame`, `texts`, `index`, `probe` and `precision` are the passes,
`intervals` the statistics, `oracle` the second implementation, `report` the JSON; `certify` puts them together.
"""
