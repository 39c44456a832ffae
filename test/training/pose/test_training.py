import csv
import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; make dev installs it")


from keytrack_ros import skeleton  # noqa: E402
from keytrack_ros.errors import DataError, ModelError, OptionError  # noqa: E402
from keytrack_ros.estimation import Estimator, EstimatorOptions  # noqa: E402
from keytrack_ros.estimation.checkpoints import load_hrnet  # noqa: E402
from keytrack_ros.estimation.hrnet import build_hrnet  # noqa: E402
from keytrack_ros.inference.cards import load_card  # noqa: E402
from keytrack_ros.inference.session import OnnxSession  # noqa: E402
from keytrack_ros.training.common.export import NO_LICENCE  # noqa: E402
from keytrack_ros.training.common.setup import average_into, averaged_weights, cosine_rate, stepped_rate  # noqa: E402
from keytrack_ros.training.pose.data import load_people  # noqa: E402
from keytrack_ros.training.pose.export import export_pose  # noqa: E402
from keytrack_ros.training.pose.options import PoseTrainOptions  # noqa: E402
from keytrack_ros.training.pose.start import start_weights  # noqa: E402
from keytrack_ros.training.pose.training import (  # noqa: E402
    PoseTraining,
    heatmap_loss,
    network_crops,
    pckh_hits,
)
from test.training.pose.toy_poses import write_data  # noqa: E402

MUON = PoseTrainOptions(width=64, height=64, half_size_epochs=1, epochs=3, samples_per_epoch=8, batch_size=4, threads=1)
TINY = dataclasses.replace(MUON, optimiser="adamw")  # much faster on CPUs without bfloat16


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load_people(write_data(tmp_path_factory.mktemp("data")))


def trained(data, folder, options=TINY, stop_at=None, resume=False):
    """A run, to its end or to step `stop_at`."""
    run = PoseTraining(data, folder, options, resume)
    run.run(lambda _: None, lambda: run.step == stop_at)
    return run


def test_a_resumed_run_walks_the_same_curve(data, tmp_path):
    whole = trained(data, tmp_path / "whole")
    trained(data, tmp_path / "parts", stop_at=3)
    again = trained(data, tmp_path / "parts", resume=True)
    assert again.step == whole.step == 6
    assert [e.loss for e in again.log] == [e.loss for e in whole.log]
    assert [e.width for e in whole.log] == [32, 64, 64]
    for a, b in zip(again.averaged.parameters(), whole.averaged.parameters(), strict=True):
        assert torch.equal(a, b)
    with (tmp_path / "whole/log.csv").open() as stream:
        assert [int(row["step"]) for row in csv.DictReader(stream)] == [2, 4, 6]


def test_it_learns(data, tmp_path):
    options = dataclasses.replace(TINY, half_size_epochs=0, epochs=2, samples_per_epoch=160, batch_size=8, warm_up=0.1)
    run = trained(data, tmp_path, options)
    assert run.log[1].loss < 0.9 * run.log[0].loss


def test_another_runs_checkpoint_is_refused_and_the_difference_named(data, tmp_path):
    trained(data, tmp_path, MUON, stop_at=1)
    for changed, says in (
        ({"learning_rate": 1e-3}, r"learning_rate is 0\.002 there and 0\.001 here"),
        ({"optimiser": "adamw"}, "optimiser is 'muon' there and 'adamw' here"),
    ):
        with pytest.raises(DataError, match=says):
            PoseTraining(data, tmp_path, dataclasses.replace(MUON, **changed), resume=True)


def test_a_run_may_begin_with_the_weights_of_another(data, tmp_path):
    first = trained(data, tmp_path / "first")
    options = dataclasses.replace(TINY, start=str(first.checkpoint), learning_rate=1e-7, seed=9)
    second = PoseTraining(data, tmp_path / "second", options)
    for a, b in zip(second.network.parameters(), first.averaged.parameters(), strict=True):
        assert torch.equal(a, b)
    second.save()
    first.checkpoint.unlink()  # a resumed run does not need it again
    assert PoseTraining(data, tmp_path / "second", options, resume=True).step == 0


def test_a_run_may_begin_with_a_network_that_ships_and_keep_its_stem(data, tmp_path):
    network = build_hrnet("w16_small", skeleton.COUNT)
    export_pose(network, tmp_path, TINY)
    options = dataclasses.replace(TINY, start=str(tmp_path / "hrnet_w16.pt"), frozen_stem=True)
    run = trained(data, tmp_path / "run", options)
    before, after = network.state_dict(), run.network.state_dict()
    for name in ("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight"):
        assert torch.allclose(after[name], before[name], rtol=1e-3)  # stored as FP16
    assert not torch.allclose(after["final_layer.weight"], before["final_layer.weight"], rtol=1e-3)


def test_a_wider_network_begins_with_what_a_narrower_one_computes(tmp_path):
    torch.manual_seed(0)
    narrow = build_hrnet("w16_small", skeleton.COUNT).eval()
    torch.nn.init.normal_(narrow.final_layer.weight, std=0.5)
    torch.save({"averaged": narrow.state_dict()}, tmp_path / "narrow.pt")
    wide = build_hrnet("w24_small", skeleton.COUNT).eval()
    wide.load_state_dict(start_weights(tmp_path / "narrow.pt", wide))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = narrow(images)
        assert (wide(images) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert wide.stage4[0].branches[3][0].conv1.weight[128:].abs().max() > 0  # new channels can learn
    torch.save({"averaged": wide.state_dict()}, tmp_path / "wide.pt")
    with pytest.raises(DataError, match=r"wide\.pt: holds no averaged weights of such a network or a narrower one"):
        start_weights(tmp_path / "wide.pt", narrow)


def test_exported_convolutions_are_stored_once_and_torch_computes_what_the_graph_computes(tmp_path):
    torch.manual_seed(0)
    network = build_hrnet("w16_small", skeleton.COUNT)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    torch.nn.init.zeros_(network.bn1.weight[:1])  # a channel that is not used
    torch.nn.init.normal_(network.final_layer.weight, std=0.5)
    graph, weights, _ = export_pose(network, tmp_path, TINY)
    assert weights.stat().st_size < 0.1 * graph.stat().st_size
    crops = network_crops(list(np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)))
    expected = OnnxSession(graph).run({"image": crops.numpy()})["heatmaps"]
    with torch.no_grad():
        found = load_hrnet(weights).network(crops).numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    graph.unlink()
    with pytest.raises(ModelError, match=r"hrnet_w16\.onnx: No such file"):
        load_hrnet(weights)
    with pytest.raises(DataError, match=r"hrnet_w16\.onnx: No such file"):
        averaged_weights(weights, network)


def test_a_part_of_the_batch_shows_nobody(data, tmp_path):
    options = dataclasses.replace(TINY, batch_size=40, samples_per_epoch=40, half_size_epochs=0, negatives=0.25)
    samples = PoseTraining(data, tmp_path, options).samples(0)
    nobody = [sample for sample in samples if not sample.present.any()]
    assert len(samples) == 40
    assert 3 <= len(nobody) <= 18
    assert all((sample.weights > 0).all() for sample in nobody)  # all keypoints are known not to be there


def test_a_start_that_is_no_such_run_is_refused(data, tmp_path):
    torch.save({"format": 1, "configuration": {}}, tmp_path / "other.pt")
    for name, says in (("other.pt", "holds no averaged weights of such a network"), ("none.pt", "No such file")):
        with pytest.raises(DataError, match=says):
            PoseTraining(data, tmp_path, dataclasses.replace(TINY, start=str(tmp_path / name)))


def test_the_exported_network_gives_the_poses_of_the_trained_one(tmp_path):
    network = build_hrnet("w16_small", skeleton.COUNT).eval()
    torch.nn.init.normal_(network.final_layer.weight, std=0.5)
    export_pose(network, tmp_path, TINY)
    estimator = Estimator(EstimatorOptions(model=str(tmp_path / "hrnet_w16.yaml")))
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    # With this box the crop is the image itself.
    box = np.array([[32 - 25.6, 32 - 25.6, 32 + 25.6, 32 + 25.6]], np.float32)
    poses = estimator.estimate(image, box)
    with torch.no_grad():
        maps = network(network_crops([image]))[0].numpy()
    rows, columns = np.divmod(maps.reshape(15, -1).argmax(1), 16)
    expected = (np.stack([columns, rows], 1) + 0.375) * 4
    assert np.abs(poses.keypoints[0] - expected).max() <= 1.001  # a quarter of a heatmap pixel
    assert estimator.card.licence.startswith("not stated by its trainer")


def test_the_loss_is_the_weighted_mean_of_squared_errors():
    heatmaps, targets = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2)
    assert heatmap_loss(heatmaps, targets, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(4)
    targets[0, 1] = 3
    assert heatmap_loss(heatmaps, targets, torch.tensor([[1.0, 0.5]])).item() == pytest.approx((4 + 0.5 * 36) / 1.5)
    assert heatmap_loss(heatmaps, targets, torch.zeros(1, 2)).item() == 0


def test_pckh_counts_within_half_a_head():
    truth = np.zeros((2, 15, 2))
    truth[:, skeleton.INDEX["head_top"]] = (0, 20)  # a head of 20 pixels
    points, known = truth.copy(), np.ones((2, 15), bool)
    points[0, skeleton.INDEX["left_knee"]] = (10, 0)
    points[0, skeleton.INDEX["right_knee"]] = (10.1, 0)
    known[1, skeleton.INDEX["head_top"]] = False  # the second person's head is not known
    right, asked = pckh_hits(points, truth, known)
    assert asked.sum(1).tolist() == [15, 0]
    assert right[0, skeleton.INDEX["left_knee"]]
    assert not right[0, skeleton.INDEX["right_knee"]]
    assert right.sum() == 14


def test_crops_are_normalised_as_imagenet():
    crops = network_crops([np.full((2, 3, 3), (103.53, 116.28, 123.675), np.float64).astype(np.uint8)])
    assert crops.shape == (1, 3, 2, 3)
    assert crops[0, :, 0, 0].tolist() == pytest.approx(
        [(123 - 123.675) / 58.395, (116 - 116.28) / 57.12, (103 - 103.53) / 57.375], abs=1e-6
    )


def test_the_learning_rate_rises_and_falls():
    options = dataclasses.replace(TINY, epochs=50, warm_up=0.1)  # 100 steps
    assert cosine_rate(0, options) == pytest.approx(2e-3 / 10)
    assert cosine_rate(10, options) == pytest.approx(2e-3)
    middle = 2e-3 * (0.01 + 0.99 * (1 + math.cos(math.pi / 2)) / 2)
    assert cosine_rate(55, options) == pytest.approx(middle)


def test_averaging_takes_batch_statistics_along():
    a, b = (torch.nn.BatchNorm2d(1) for _ in range(2))
    b.weight.data.fill_(3.0)
    b.running_mean.fill_(10.0)
    average_into(a, b, 0.9)
    assert a.weight.item() == pytest.approx(1.2)
    assert a.running_mean.item() == pytest.approx(1.0)


def test_sizes_that_the_strides_cannot_divide_are_refused():
    with pytest.raises(OptionError, match="height: 96 is not a multiple of 64"):
        PoseTrainOptions(width=64, height=96)


def test_samples_are_drawn_in_rows_of_eight(data, tmp_path):
    sheet = PoseTraining(data, tmp_path, TINY).sample_sheet()
    assert sheet.shape == (64, 8 * 64, 3)  # four crops, the row is filled up
    assert sheet[:, : 4 * 64].any()
    assert not sheet[:, 4 * 64 :].any()


def test_the_papers_learning_rate_falls_to_a_tenth_at_each_milestone(data, tmp_path):
    options = dataclasses.replace(
        TINY, epochs=20, warm_up=0.0, learning_rate=1e-4, milestones="10,15", half_size_epochs=0
    )
    assert options.milestone_steps == [20, 30]
    rates = [stepped_rate(step, options, options.milestone_steps) for step in (0, 19, 20, 29, 30, 39)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])
    run = trained(data, tmp_path, dataclasses.replace(options, epochs=2, milestones="1", optimiser="adam"))
    assert [epoch.learning_rate for epoch in run.log] == pytest.approx([1e-4, 1e-5])
    with pytest.raises(OptionError, match="milestones: '10;15' is not a list of epochs"):
        dataclasses.replace(TINY, milestones="10;15")


def test_any_number_of_loaders_gives_the_same_weights(data, tmp_path):
    one = trained(data, tmp_path / "one")
    many = trained(data, tmp_path / "many", dataclasses.replace(TINY, loaders=3))
    for a, b in zip(one.network.parameters(), many.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_run_starts_from_the_backbone_of_a_published_checkpoint(data, tmp_path):
    torch.manual_seed(5)
    published = build_hrnet("w16_small", 17)
    state = {f"backbone.{k}" if "final" not in k else f"head.{k}": v for k, v in published.state_dict().items()}
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "coco.pth")
    run = PoseTraining(data, tmp_path, dataclasses.replace(TINY, start=str(tmp_path / "coco.pth")))
    assert torch.equal(run.network.conv1.weight, published.conv1.weight)
    assert torch.equal(
        run.network.stage4[0].branches[0][0].conv1.weight, published.stage4[0].branches[0][0].conv1.weight
    )
    assert run.network.final_layer.weight.shape[0] == 15  # its own, as the joints differ
    del state["backbone.conv1.weight"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"other\.pth: not the backbone of this network: 'conv1\.weight' and 0 more"):
        PoseTraining(data, tmp_path, dataclasses.replace(TINY, start=str(tmp_path / "other.pth")))


def test_the_licence_goes_into_the_model_file(data, tmp_path):
    for name, licence in (("a", "CC BY 4.0"), ("b", "")):
        run = trained(data, tmp_path / name, dataclasses.replace(TINY, epochs=1, half_size_epochs=0, licence=licence))
        card = load_card(run.export()[-1])
        assert card.licence == (licence or NO_LICENCE)
