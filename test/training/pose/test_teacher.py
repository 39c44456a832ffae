import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed; make dev installs it")

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError, ModelError
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.training.pose.augment import plain_sample
from keytrack_ros.training.pose.data import load_people
from keytrack_ros.training.pose.options import PoseTrainOptions
from keytrack_ros.training.pose.teacher import VIEWS, Answers, ask_teacher, taught_heatmaps, with_annotated
from keytrack_ros.training.pose.training import PoseTraining
from test.training.pose.toy_poses import write_data

TEACHER = "hrnet_w24"
TINY = PoseTrainOptions(
    width=64, height=64, half_size_epochs=0, epochs=1, samples_per_epoch=8, batch_size=4, threads=1, optimiser="adamw"
)
SIZE = (192, 256)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return load_people(write_data(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def answers(people, tmp_path_factory):
    return ask_teacher(people, TEACHER, tmp_path_factory.mktemp("run") / "teacher.npz", 1)


def test_each_view_is_the_answer_in_a_box_of_another_size(people, answers):
    row = int(people.rows(held_back=False)[0])
    box = people.boxes[row]
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    estimator = Estimator(EstimatorOptions(model=TEACHER, flip_test=True))
    for view, factor in enumerate(VIEWS):
        grown = np.concatenate([middle - factor * half, middle + factor * half])
        found = estimator.estimate(people.image(row), grown[None])
        assert answers.points[row, view] == pytest.approx(found.keypoints[0], abs=0.1)
        assert answers.scores[row, view] == pytest.approx(found.scores[0], abs=1e-3)
    estimator.close()


def test_who_is_held_back_is_not_asked_for(people, answers):
    assert (answers.scores[people.rows(held_back=True)] == 0).all()
    assert (answers.scores[people.rows(held_back=False)] > 0).any((1, 2)).all()


def test_answers_are_kept_and_belong_to_their_people_and_network(people, tmp_path):
    file = tmp_path / "teacher.npz"
    first = ask_teacher(people, TEACHER, file, 1)
    with np.load(file) as content:
        changed = dict(content)
    np.savez(file, **{**changed, "scores": changed["scores"] / 2})
    assert np.array_equal(ask_teacher(people, TEACHER, file, 1).scores, first.scores / 2)  # read, not asked for again
    np.savez(file, **{**changed, "scores": changed["scores"] / 2, "of": np.array("other people")})
    assert np.array_equal(ask_teacher(people, TEACHER, file, 1).scores, first.scores)


def test_a_file_of_something_else_and_a_teacher_that_is_not_there_are_named(people, tmp_path):
    (tmp_path / "teacher.npz").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"teacher\.npz: not a teacher's answers"):
        ask_teacher(people, TEACHER, tmp_path / "teacher.npz", 1)
    with pytest.raises(ModelError, match="nobody"):
        ask_teacher(people, "nobody", tmp_path / "none.npz", 1)


def test_views_that_agree_make_one_hill_and_others_lower_ones():
    drawn = np.zeros((2, 15, 4, 4), np.float32)
    drawn[:, 0, 1, 1] = 1  # both views say here
    drawn[0, 1, 0, 0] = drawn[1, 1, 3, 3] = 1  # one here, one there
    maps = taught_heatmaps(np.array([[0.8] * 15, [0.4] * 15], np.float32), drawn)
    assert maps[0, 1, 1] == pytest.approx(0.6)
    assert maps[1, 0, 0] == pytest.approx(0.4)
    assert maps[1, 3, 3] == pytest.approx(0.2)


def test_a_view_that_says_nothing_does_not_count():
    drawn = np.ones((2, 15, 1, 1), np.float32)
    scores = np.full((2, 15), 0.5, np.float32)
    scores[0, 1] = scores[:, 2] = np.nan
    maps = taught_heatmaps(scores, drawn)[:, 0, 0]
    assert maps[:2].tolist() == [0.5, 0.5]
    assert np.isnan(maps[2])


def test_answers_in_the_annotations_count_as_much_as_all_views_of_a_network(people):
    count = len(people)
    assert with_annotated(None, people) is None  # these annotations hold none
    taught = np.zeros((count, 15, 3), np.float32)
    taught[0, 3] = 7, 8, 0.9
    taught[1, 4] = 1, 2, 3  # a score above 1
    said = dataclasses.replace(people, taught=taught)
    alone = with_annotated(None, said)
    assert alone.points[0, 0, 3].tolist() == [7, 8]
    assert np.isfinite(alone.scores).sum() == 2
    assert alone.scores[1, 0, 4] == 1
    asked = Answers(np.zeros((count, 3, 15, 2), np.float32), np.full((count, 3, 15), 0.3, np.float32))
    both = with_annotated(asked, said)
    maps = taught_heatmaps(both.scores[0], np.ones((6, 15, 1, 1), np.float32))[:, 0, 0]
    assert maps[3] == pytest.approx((0.3 + 0.9) / 2)
    assert np.delete(maps, 3) == pytest.approx(0.3)
    assert people.fingerprint != said.fingerprint


def test_where_no_teacher_says_anything_the_label_is_the_target(people, tmp_path):
    run = PoseTraining(people, tmp_path, dataclasses.replace(TINY, teacher_share=0.75, width=192, height=256))
    row = int(people.rows(held_back=False)[0])
    labels = people.keypoints[row], people.weights[row], people.present[row]
    plain = plain_sample(people.image(row), people.boxes[row], *labels, SIZE)
    scores = np.full((1, 15), np.nan, np.float32)
    scores[0, 5] = 0
    target = run._target(plain.with_answers(people.keypoints[row][None], scores), SIZE)
    own = run._target(plain, SIZE)
    assert target[5] == pytest.approx(0.25 * own[5])
    assert np.array_equal(np.delete(target, 5, 0), np.delete(own, 5, 0))


def test_targets_are_part_label_and_part_teacher_also_in_the_mirror(people, tmp_path):
    """A teacher who is sure of the labels moved by 8 pixels: two hills, of 1 - share and share, at swapped sides."""
    run = PoseTraining(people, tmp_path, dataclasses.replace(TINY, teacher_share=0.25, width=192, height=256))
    row = int(people.rows(held_back=False)[0])
    labels = people.keypoints[row], people.weights[row], people.present[row]
    plain = plain_sample(people.image(row), people.boxes[row], *labels, SIZE)
    mirrored = dataclasses.replace(
        plain,
        matrix=np.array([[-1, 0, SIZE[0] - 1], [0, 1, 0]]) @ np.vstack([plain.matrix, [0, 0, 1]]),
        mirrored=True,
        present=plain.present[list(skeleton.MIRRORED)],
    )
    mirrored = dataclasses.replace(mirrored, keypoints=mirrored.placed(people.keypoints[row]))
    away = people.keypoints[row] + np.array([0, 64 / plain.matrix[1, 1]])  # 16 heatmap pixels below
    scores = np.ones((1, 15), np.float32)
    for sample in (plain, mirrored):
        target = run._target(sample.with_answers(away[None], scores), SIZE)
        for k in np.flatnonzero(sample.present):
            x, y = np.round(sample.keypoints[k] / 4 - 0.375).astype(int)
            assert target[k, y, x] == pytest.approx(0.75, abs=0.05)
            if y + 16 < 64:
                assert target[k, y + 16, x] == pytest.approx(0.25, abs=0.02)
    assert np.array_equal(mirrored.placed(people.keypoints[row])[5, 1], plain.keypoints[6, 1])  # elbows change sides


def test_a_run_learns_from_its_teacher_and_resumes(people, tmp_path):
    options = dataclasses.replace(TINY, teacher=TEACHER, occluders=0.5, batch_size=40, samples_per_epoch=80)
    run = PoseTraining(people, tmp_path, options)
    samples = run.samples(0)
    taught = [sample for sample in samples if sample.taught is not None]
    assert 5 <= len(taught) <= 33  # neither crops without a person nor, in half of the others, pasted people
    run.run(lambda _: None, lambda: run.step == 1)
    again = PoseTraining(people, tmp_path, options, resume=True)
    again.run(lambda _: None)
    assert again.finished
    assert np.isfinite(again.log[0].loss)


def test_hrnets_augmentation_is_taught_too(people, tmp_path):
    options = dataclasses.replace(TINY, teacher=TEACHER, augmentation="hrnet", batch_size=40, samples_per_epoch=40)
    samples = PoseTraining(people, tmp_path, options).samples(0)
    assert all((sample.taught is not None) == bool(sample.present.any()) for sample in samples)
