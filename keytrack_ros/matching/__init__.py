"""Two poses → a match score: Pose Entailment and its rivals behind one interface."""
