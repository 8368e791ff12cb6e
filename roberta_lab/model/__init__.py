"""The model and what trains it: encoder, objective, optimizer, checkpoints, costs, Hugging Face's formats."""
