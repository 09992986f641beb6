"""What results look like: pairs of human_x (for the terminal) and json_x (plain JSON types)."""
