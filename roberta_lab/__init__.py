"""A laboratory for the ablations of RoBERTa (Liu et al. 2019): one axis at a time, exactly."""
