"""Detection, pose estimation and TOKS in torch on one device: one upload and one download per frame.

The same arithmetic as `detection`, `estimation` and `toks`, which use NumPy and OpenCV; tests run the same cases over
both. It also runs on the CPU, slower than those, so that the cases need no GPU.
"""
