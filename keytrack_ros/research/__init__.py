"""The baselines that KeyTrack is compared with, and the experiments of the paper."""
