"""What is measured about predictions, explanations, and the people who judge them."""
