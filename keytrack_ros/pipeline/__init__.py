"""Image → poses with track ids, for one camera or several that share networks."""

from keytrack_ros.pipeline.pipeline import STAGES as STAGES
from keytrack_ros.pipeline.pipeline import Pipeline as Pipeline
from keytrack_ros.pipeline.pipeline import PipelineOptions as PipelineOptions
