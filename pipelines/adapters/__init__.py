"""Steps of other libraries as stages here, one door each."""
