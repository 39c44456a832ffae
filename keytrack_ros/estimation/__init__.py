"""Frame and person boxes → poses."""

from keytrack_ros.estimation.estimator import Estimator, EstimatorOptions

__all__ = ["Estimator", "EstimatorOptions"]
