"""Short training runs of small hybrid models on a mixture; imports without Ray, datatrove or fastText."""
