"""What stamps mean, live and in recordings: hand-made sequences, with times in tenths of a second."""

from __future__ import annotations

import random

import pytest

from keytrack_ros.timing import (
    JUMP_NS,
    LiveClock,
    Order,
    Recorded,
    SteadyTime,
    held_images,
    in_stamp_order,
    with_stamps,
)

TENTH = 100_000_000
WALL = 17_000_000_000  # tenths: where the times of recording begin


def live(stamps: list[float], arrivals: list[float] | None = None) -> tuple[list[str], list[float]]:
    """Orders, and the tracker's times, of stamps (in tenths) that arrive a tenth apart."""
    clock = LiveClock()
    moments = [
        clock.take(round(stamp * TENTH), round(arrival * TENTH))
        for stamp, arrival in zip(stamps, arrivals or [500 + k for k in range(len(stamps))], strict=True)
    ]
    return [moment.order.name for moment in moments], [moment.time_ns / TENTH for moment in moments]


class TestLive:
    def test_good_stamps_are_the_times(self) -> None:
        assert live([100, 101, 103, 104]) == (["NEXT"] * 4, [100, 101, 103, 104])

    def test_cameras_that_never_stamp_have_the_times_of_arrival(self) -> None:
        assert live([0, 0, 0], [500, 502, 503]) == (["UNSET"] * 3, [500, 502, 503])

    def test_stamps_that_stand_still_have_the_times_of_arrival(self) -> None:
        assert live([100] * 3, [500, 502, 503]) == (["NEXT", "SAME", "SAME"], [100, 102, 103])

    def test_an_unset_stamp_among_good_ones_changes_nothing_for_the_others(self) -> None:
        assert live([100, 101, 0, 103]) == (["NEXT", "NEXT", "UNSET", "NEXT"], [100, 101, 102, 103])

    @pytest.mark.parametrize("bad", [5, 60, 150, 100_000])
    def test_one_bad_stamp_is_no_jump(self, bad: float) -> None:
        orders, times = live([100, 101, bad, 103, 104])
        assert orders == ["NEXT", "NEXT", "DOUBTFUL", "NEXT", "NEXT"]
        assert times == [100, 101, 102, 103, 104]

    def test_two_bad_stamps_that_disagree_are_no_jump(self) -> None:
        assert live([100, 101, 9000, 300, 104])[0] == ["NEXT", "NEXT", "DOUBTFUL", "DOUBTFUL", "NEXT"]

    @pytest.mark.parametrize("other", [20, 900])
    def test_time_has_jumped_once_a_second_image_says_so(self, other: float) -> None:
        clock = LiveClock()
        moments = [
            clock.take(round(s * TENTH), k * TENTH)
            for k, s in enumerate([500, 501, other, other + 1, other + 2], start=1)
        ]
        assert [m.order.name for m in moments] == ["NEXT", "NEXT", "DOUBTFUL", "JUMP", "NEXT"]
        assert moments[3].shift_ns == round((other + 1 - 501) * TENTH)
        times = [m.time_ns for m in moments]
        assert times == sorted(set(times))

    def test_a_stall_of_the_network_is_no_jump(self) -> None:
        # Three seconds of images are lost, and the next one comes a tenth after the last.
        assert live([100, 101, 131, 132])[0] == ["NEXT", "NEXT", "DOUBTFUL", "NEXT"]

    def test_a_camera_of_one_image_in_20_s(self) -> None:
        assert live([100, 300, 500], [700, 900, 1100]) == (["NEXT"] * 3, [100, 300, 500])

    def test_late_images_leave_no_trace(self) -> None:
        # 95.05 is half a second late; 101 is compared with 100, not with it.
        orders, times = live([100, 95.5, 101])
        assert orders == ["NEXT", "LATE", "NEXT"]
        assert times[2] == 101

    def test_a_jump_is_a_second(self) -> None:
        clock = LiveClock()
        clock.take(JUMP_NS * 5, 1)
        assert clock.take(JUMP_NS * 4 + 1, 2).order is Order.LATE
        assert clock.take(JUMP_NS * 4, 3).order is Order.DOUBTFUL

    def test_after_forgetting_any_stamp_comes_next(self) -> None:
        clock = LiveClock()
        clock.take(5 * JUMP_NS, 1)
        clock.forget()
        assert clock.take(3 * JUMP_NS, 2).order is Order.NEXT


def recorded(stamps: list[float], times: list[float] | None = None) -> list[Recorded[None]]:
    """A tenth apart, if `times` (in tenths) do not say otherwise."""
    places = times or [float(k) for k in range(len(stamps))]
    return [
        Recorded(round(stamp * TENTH), round((WALL + time) * TENTH), k, None)
        for k, (stamp, time) in enumerate(zip(stamps, places, strict=True))
    ]


def mended(stamps: list[float], times: list[float] | None = None) -> list[Recorded[None]]:
    images = recorded(stamps, times)
    return list(with_stamps(images, next((i for i in images if i.stamp_ns > 0), None)))


def order(stamps: list[float]) -> list[int]:
    images = mended(stamps)
    return [image.index for image in in_stamp_order(images, held_images(images))]


class TestRecordings:
    def test_without_any_stamp_the_times_of_recording_serve(self) -> None:
        images = mended([0, 0, 0])
        assert [i.stamp_ns / TENTH for i in images] == [WALL, WALL + 1, WALL + 2]
        assert not any(i.mended for i in images)

    @pytest.mark.parametrize(
        ("stamps", "times", "expected"),
        [
            ([0, 101, 102], None, [100, 101, 102]),
            ([0, 1, 2], None, [0, 1, 2]),  # a simulation begins
            ([0, 0, 4], [0, 10, 20], [0, 2, 4]),  # its clock is slower than the wall's
            ([100, 0, 104], [0, 1, 4], [100, 101, 104]),
            ([100, 0, 0, 103], [0, 0, 0, 0], [100, 101, 102, 103]),  # recorded at one moment
            ([100, 101, 0], None, [100, 101, 102]),
            ([100, 101, 0, 20, 21], None, [100, 101, 102, 20, 21]),  # before a jump
            ([100, 101, 90_000, 103], None, [100, 101, 102, 103]),
            ([100, 101, 150, 103], None, [100, 101, 102, 103]),
            ([100, 101, 3, 103], None, [100, 101, 102, 103]),
        ],
    )
    def test_a_missing_or_bad_stamp_takes_its_place_from_its_neighbours(
        self, stamps: list[float], times: list[float] | None, expected: list[float]
    ) -> None:
        images = mended(stamps, times)
        assert [i.stamp_ns / TENTH for i in images] == expected
        changed = [i.index for i, before in zip(images, stamps, strict=True) if i.stamp_ns != round(before * TENTH)]
        assert set(changed) <= {i.index for i in images if i.mended}

    def test_two_passes_stay_apart(self) -> None:
        images = mended([100 + k % 20 for k in range(40)])
        assert [i.stretch for i in images] == [0] * 20 + [1] * 20
        assert [i.index for i in in_stamp_order(images, held_images(images))] == list(range(40))

    def test_far_ahead_begins_a_stretch(self) -> None:
        assert [i.stretch for i in mended([100, 101, 301, 302])] == [0, 0, 1, 1]

    def test_images_that_were_recorded_late_are_sorted(self) -> None:
        assert order([100, 103, 101, 102, 104]) == [0, 2, 3, 1, 4]

    def test_in_order_nothing_is_held(self) -> None:
        assert held_images(mended([100 + k for k in range(1000)])) == 0

    def test_any_disorder_within_a_second_is_sorted_with_what_it_takes(self) -> None:
        rng = random.Random(1)
        for _ in range(200):
            times = sorted((100 + k + rng.uniform(0, 9), 100 + k) for k in range(rng.randrange(1, 60)))
            stamps = [float(stamp) for _, stamp in times]
            images = mended(stamps)
            found = [i.stamp_ns for i in in_stamp_order(images, held_images(images))]
            assert found == sorted(found)
            assert held_images(images) < 10  # images recorded within nine tenths of a second

    def test_a_thousand_images_without_stamp_are_not_held(self) -> None:
        read = 0

        def images():
            nonlocal read
            for image in recorded([100.0, *[0.0] * 1000, 1101.0]):
                read += 1
                yield image

        first = recorded([100.0])[0]
        behind = [read - k for k, _ in enumerate(with_stamps(images(), first))]
        assert max(behind) <= 70


class TestSteadyTime:
    def test_stamps_that_grow_are_the_times(self) -> None:
        clock = SteadyTime()
        assert [clock.seconds(s) for s in (5.0, 5.1, 7.0)] == [5.0, 5.1, 7.0]

    def test_stamps_that_stand_still_go_on_at_the_last_rate(self) -> None:
        clock = SteadyTime()
        assert [clock.seconds(s) for s in (0.0, 0.0, 0.0)] == pytest.approx([0.0, 0.1, 0.2])
        clock = SteadyTime()
        assert [clock.seconds(s) for s in (5.0, 5.04, 5.04, 5.12)] == pytest.approx([5.0, 5.04, 5.08, 5.12])

    def test_time_that_goes_back_goes_back(self) -> None:
        clock = SteadyTime()
        assert [clock.seconds(s) for s in (5.0, 3.0, 3.0)] == pytest.approx([5.0, 3.0, 3.1])
