"""What substring dedup and line dedup share: passes that find items which documents have in common, and cut them out.

An *item* is what is compared: a window of tokens, a line, a paragraph. Items in a row that share a *key* are a *run*.
"""
