"""What a run will take on hardware that is not here: arithmetic with its sources. Nothing is measured or contacted."""
