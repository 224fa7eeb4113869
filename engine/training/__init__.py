"""Training: recipes, phantom data, the loop, and the model card that comes out of it."""
