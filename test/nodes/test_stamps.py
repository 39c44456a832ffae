"""What the stamps of images say about their order."""

from __future__ import annotations

from keytrack_ros.nodes.stamps import Order, StampOrder

SECOND = 1_000_000_000


def test_order_of_a_sequence_with_late_and_repeated_stamps() -> None:
    order = StampOrder()
    seconds = [5.0, 5.1, 5.05, 5.1, 5.2, 4.3, 5.3, 4.3, 4.4]
    expected = [
        Order.NEXT,
        Order.NEXT,
        Order.LATE,  # 0.05 s before the last
        Order.SAME,  # as the last, for the late one was not remembered
        Order.NEXT,
        Order.LATE,  # 0.9 s
        Order.NEXT,
        Order.JUMP,  # exactly 1 s
        Order.NEXT,  # time goes on from where it jumped to
    ]
    assert [order.take(round(s * SECOND)) for s in seconds] == expected


def test_zero_stamps_stand_still() -> None:
    order = StampOrder()
    assert [order.take(0) for _ in range(3)] == [Order.NEXT, Order.SAME, Order.SAME]


def test_after_forgetting_any_stamp_comes_next() -> None:
    order = StampOrder()
    order.take(5 * SECOND)
    order.forget()
    assert order.take(4_500_000_000) is Order.NEXT
