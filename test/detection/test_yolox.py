import numpy as np

from keytrack_ros.detection import yolox


def test_letterbox_keeps_the_aspect_and_fills_below():
    image = np.full((100, 200, 3), 50, np.uint8)
    boxed, scale = yolox.letterbox(image, (416, 416), fill=114)
    assert scale == 2.08
    assert boxed.shape == (416, 416, 3)
    assert (boxed[:208] == 50).all()
    assert (boxed[208:] == 114).all()


def test_letterbox_of_an_extremely_long_image_keeps_a_row():
    boxed, scale = yolox.letterbox(np.full((1, 5000, 3), 9, np.uint8), (416, 416), fill=0)
    assert (boxed[0] == 9).all()
    assert scale == 416 / 5000


def test_grid_is_row_major_finest_first():
    corners, strides = yolox.cell_grid((64, 32), (8, 16))
    assert len(corners) == 8 * 4 + 4 * 2
    assert corners[1].tolist() == [1, 0]
    assert corners[8].tolist() == [0, 1]
    assert corners[32 + 5].tolist() == [1, 1]
    assert strides[:, 0].tolist() == [8] * 32 + [16] * 8


def test_decode_hand_worked():
    # cell (3, 2) of stride 16: centre (3 + 0.5, 2 + 0.25) · 16 = (56, 36); w = e⁰ · 16 = 16, h = 2 · 16 = 32
    rows = np.array([[0.5, 0.25, 0.0, np.log(2), 0.8, 0.1, 0.5]], np.float32)
    boxes, scores = yolox.decode(rows, np.array([[3, 2]], np.float32), np.array([[16]], np.float32), person_class=1)
    np.testing.assert_allclose(boxes, [[48, 20, 64, 52]], rtol=1e-6)
    np.testing.assert_allclose(scores, [0.4], rtol=1e-6)


def test_absurd_network_output_does_not_overflow():
    rows = np.array([[0, 0, 1000, 1000, 1, 1]], np.float32)
    boxes, _ = yolox.decode(rows, np.zeros((1, 2), np.float32), np.full((1, 1), 8, np.float32), 0)
    assert np.isfinite(boxes).all()
