"""Everything between a frame and the poses of its people, in torch, on one device: one upload, one download.

The same arithmetic as `detection`, `estimation` and `toks` do with NumPy and OpenCV, which is what it is tested
against. It runs on the CPU too, where it is of no use but for that.
"""
