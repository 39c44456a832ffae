import re

from keytrack_ros import skeleton
from keytrack_ros.inference.published import PUBLISHED


def test_the_posetrack_checkpoint_of_the_papers_network() -> None:
    network = PUBLISHED["hrnet_w48_posetrack18_384x288"]
    assert network.url == (
        "https://download.openmmlab.com/mmpose/top_down/hrnet/hrnet_w48_posetrack18_384x288-5fd6d3ff_20211130.pth"
    )
    assert (network.size, network.joints, network.decoder) == ((288, 384), "posetrack17", "quarter")


def test_mmpose_files_carry_the_first_digits_of_their_hash() -> None:
    for network in PUBLISHED.values():
        if network.url:
            assert f"-{network.sha256}_20" in network.file
            assert re.fullmatch("[0-9a-f]{8}", network.sha256)
        else:
            assert re.fullmatch("[0-9a-f]{64}", network.sha256)
            assert network.page


def test_names_say_size_and_joints() -> None:
    for name, network in PUBLISHED.items():
        width, height = network.size
        assert name.endswith(f"{height}x{width}")
        assert network.joints in skeleton.JOINT_SETS
        assert ("posetrack18" in name) == (network.joints == "posetrack17")
