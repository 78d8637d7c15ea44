"""Steps of near dedup, each a pass or two over files; `pipelines.makers.near_dedup` is the maker that runs them."""
