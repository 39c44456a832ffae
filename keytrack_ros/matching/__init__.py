"""Who is who: Pose Entailment, its form for whole tracks, and their rivals, behind two interfaces."""
