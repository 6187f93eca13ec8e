"""The configs that come with Spanwright: recipes, model sizes, data sets. Files only; no code."""
