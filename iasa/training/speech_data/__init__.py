"""Training speech: sentences, synthesis, the corpus, and performances of it."""
