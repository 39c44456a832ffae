import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError
from keytrack_ros.training.pose.data import COCO, FRAMES, LSPET, backgrounds, load_people
from test.training.pose.toy_poses import FIGURE, SIZE, write_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def test_all_sources_are_read(folder):
    people = load_people(folder)
    counts = {source: int((people.sources == source).sum()) for source in (LSPET, FRAMES, COCO)}
    assert counts == {LSPET: 9, FRAMES: 5, COCO: 1}
    assert people.keypoints.shape == (15, 15, 2)
    assert people.image(0).shape == (SIZE[1], SIZE[0], 3)


def test_lspet_has_its_labels_and_the_teachers_nose(folder):
    people = load_people(folder)
    person = int(np.flatnonzero(people.sources == LSPET)[0])
    assert np.allclose(people.keypoints[person], FIGURE)
    assert people.present[person].all()
    low, high = FIGURE[1:].min(0), FIGURE[1:].max(0)  # the nose, which nobody labelled, is not part of the box
    assert people.boxes[person].tolist() == [*low, *high]


def test_coco_has_the_teachers_head(folder):
    people = load_people(folder)
    person = int(np.flatnonzero(people.sources == COCO)[0])
    assert people.present[person].all()
    assert np.allclose(people.keypoints[person], FIGURE)


def test_the_split_is_fixed_by_image_and_by_clip(folder):
    people = load_people(folder)
    lspet = people.held_back[people.sources == LSPET]
    assert np.flatnonzero(lspet).tolist() == [3]  # indices of which the remainder of 7 is 3
    frames = np.flatnonzero(people.sources == FRAMES)
    by_image = {int(people.images[row]): bool(people.held_back[row]) for row in frames}
    images = sorted(by_image)[:4]  # two frames of each of two clips
    assert by_image[images[0]] == by_image[images[1]]
    assert by_image[images[2]] == by_image[images[3]]


def test_backgrounds_show_nobody(folder):
    assert len(backgrounds(folder)) == 1


def test_unlabelled_joints_are_unknown(tmp_path):
    folder = write_data(tmp_path / "data")
    labels = dict(np.load(folder / "images/lspet/labels.npz"))
    labels["joints"][0, skeleton.INDEX["left_knee"]] = 0
    labels["joints"][1, 4:] = 0  # head and one shoulder only: fewer than four joints
    np.savez(folder / "images/lspet/labels.npz", **labels)
    people = load_people(folder)
    assert people.weights[0, skeleton.INDEX["left_knee"]] == 0
    assert (people.sources == LSPET).sum() == 8


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("images/lspet/labels.npz", None, "No such file"),
        ("images/lspet/labels.npz", b"nonsense", "not a readable npz"),
        ("images/lspet/lspet_00.tar", b"nonsense", "not a readable tar"),
        ("images/coco_mini/person_keypoints.json", b"{", "not JSON"),
    ],
)
def test_missing_and_damaged_files_are_named(tmp_path, file, content, says):
    folder = write_data(tmp_path / "data")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(DataError, match=says) as error:
        load_people(folder)
    assert str(folder / file) in str(error.value)


def test_a_missing_key_is_named(tmp_path):
    folder = write_data(tmp_path / "data")
    content = dict(np.load(folder / "pseudo/jhmdb_00.npz"))
    del content["mov"]
    np.savez(folder / "pseudo/jhmdb_00.npz", **content)
    with pytest.raises(DataError, match=r"jhmdb_00\.npz: mov missing"):
        load_people(folder)


def test_an_image_that_is_none_is_named(tmp_path):
    folder = write_data(tmp_path / "data")
    archive = folder / "images/lspet/lspet_00.tar"
    content = archive.read_bytes()
    start = content.index(b"\xff\xd8")
    archive.write_bytes(content[:start] + b"\0\0" + content[start + 2 :])
    with pytest.raises(DataError, match=r"im00001\.jpg: cannot be decoded"):
        load_people(folder)


def test_an_empty_folder_says_what_it_should_hold(tmp_path):
    with pytest.raises(DataError, match=r"labels\.npz"):
        load_people(tmp_path)
