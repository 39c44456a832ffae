"""The tracker's state as a diagnostic_msgs status."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from keytrack_ros.nodes.statistics import Snapshot


def status(
    name: str,
    state: str,
    counts: Snapshot,
    fingerprints: Mapping[str, str],
    warning: str | None,
    poses_subscribers: int = 0,
    lifting: Mapping[str, int] | None = None,
) -> DiagnosticStatus:
    """All counts, times and networks as key-value pairs.

    Args:
        name: fully qualified name of the node.
        state: of the lifecycle, or `disabled`.
        counts: of this moment.
        fingerprints: for each task the network and the first digits of its hash.
        warning: message of a status of level WARN; None for OK.
        poses_subscribers: how many subscriptions the publisher of poses has matched. Other nodes may see a
            subscription in the graph before it is matched.
        lifting: counts of people in metres, if they are asked for.
    """
    values: dict[str, object] = {
        "state": state,
        "fps": f"{counts.fps:.2f}",
        "frames_received": counts.received,
        "frames_processed": counts.processed,
        "frames_dropped": counts.dropped,
        "frames_rejected": sum(counts.rejected.values()),
        **{f"frames_rejected.{cause}": count for cause, count in counts.rejected.items()},
        "frames_lost": counts.lost,
        "frames_unstamped": counts.unstamped,
        "people": counts.people,
        "poses_subscribers": poses_subscribers,
        **(lifting or {}),
    }
    for stage, (median, high) in counts.milliseconds.items():
        values[f"{stage}_ms_p50"] = f"{median:.2f}"
        values[f"{stage}_ms_p95"] = f"{high:.2f}"
    values.update({f"network.{task}": text for task, text in fingerprints.items()})
    return DiagnosticStatus(
        level=DiagnosticStatus.OK if warning is None else DiagnosticStatus.WARN,
        name=f"{name}: people tracking",
        message=warning or state,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
