"""The six axes of the paper's ablations, as pure functions of arrays and a key, with the nouns that they share."""
