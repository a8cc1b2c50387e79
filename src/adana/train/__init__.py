"""One run: a recipe, a folder, a loop that can be stopped and goes on exactly."""
