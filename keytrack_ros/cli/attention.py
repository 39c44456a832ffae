"""`keytrack attention`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keytrack_ros.cli.output import require_folder

if TYPE_CHECKING:
    from keytrack_ros.annotations.sequence import LabelledSequence
    from keytrack_ros.inference.cards import MatcherCard
    from keytrack_ros.matching.network import EntailmentNetwork
    from keytrack_ros.poses import ImageArray
    from keytrack_ros.research.attention_figure import ShownPair
    from keytrack_ros.research.attention_pairs import PosePair


def attention(
    poses: Annotated[
        Path,
        typer.Argument(metavar="POSES", help="Poses with ids: PoseTrack JSON, a bag, or a folder of `keytrack track`."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="PNG", help="The picture.")] = Path("attention.png"),
    images: Annotated[
        Path | None,
        typer.Option(metavar="INPUT", help="Folder with the images, or the video or bag, to draw the poses on."),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Image topic of that bag, if it has several.")] = None,
    frame: Annotated[int | None, typer.Option(help="Frame of the current pose; by default a typical case.")] = None,
    gap: Annotated[int, typer.Option(min=1, help="How many frames earlier the other poses are.")] = 2,
    person: Annotated[int | None, typer.Option(metavar="ID", help="Whose pose it is.")] = None,
    other: Annotated[
        int | None, typer.Option(metavar="ID", help="Of the non-matching pair; by default the nearest other person.")
    ] = None,
    layers: Annotated[
        list[int] | None,
        typer.Option("--layer", help="Layer, from 1; by default the last; may be given several times."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Network of pairs, by name or model file; its torch weights are needed.")
    ] = "pose_entailment_paper",
    models: Annotated[
        list[Path] | None,
        typer.Option("--models", metavar="DIR", help="Folder with networks, searched first; may be repeated."),
    ] = None,
) -> None:
    """Draw what Pose Entailment attends to, head by head (the paper's Figure 8).

    For a matching pair (a person, and itself some frames earlier) and a non-matching one (that person, and the nearest
    other one there): how much each keypoint attends to each, and both poses with the keypoints that are attended to.
    """
    from keytrack_ros.annotations.files import find_sequences, read_sequence
    from keytrack_ros.research.attention_pairs import choose_pairs
    from keytrack_ros.tracker import TrackerOptions

    _require_packages()
    require_folder(out)
    card, network = _network(model, models or [])
    from keytrack_ros.errors import InputError, OptionError
    from keytrack_ros.research.attention_figure import draw_attention

    if gap > card.memory_frames:
        raise OptionError(f"--gap {gap}: {card.name} knows poses that are 1 … {card.memory_frames} frames apart")
    depth = len(network.layers)
    for layer in layers or ():
        if not 1 <= layer <= depth:
            raise OptionError(f"--layer {layer}: {card.name} has layers 1 … {depth}")
    files = find_sequences(poses)
    if len(files) > 1:
        raise InputError(f"{poses}: holds {len(files)} sequences; name one, such as {files[0]}")
    sequence = read_sequence(files[0])
    pairs = choose_pairs(sequence, gap, frame, person, other, TrackerOptions().keypoint_threshold)
    pictures = None if images is None else _images(images, sequence, pairs[0], topic)
    shown = [_shown(pair, sequence, pictures, card, network) for pair in pairs]
    draw_attention(out, shown, [layer - 1 for layer in layers or (depth,)])
    for pair in shown:
        typer.echo(pair.caption)
    typer.echo(out)


def _require_packages() -> None:
    from importlib.util import find_spec

    from keytrack_ros.errors import OutputError

    for package, extra in (("matplotlib", "eval"), ("torch", "train")):
        if find_spec(package) is None:
            raise OutputError(
                f"attention: {package} is not installed: pip install {package}, or this package with [{extra}]"
            )


def _network(model: str, folders: list[Path]) -> tuple[MatcherCard, EntailmentNetwork]:
    """The torch network behind a matcher of pairs."""
    from keytrack_ros.errors import ModelError
    from keytrack_ros.inference.cards import MatcherCard
    from keytrack_ros.inference.registry import find_model
    from keytrack_ros.matching.network import EntailmentNetwork
    from keytrack_ros.matching.weights import load_weights

    card = find_model(MatcherCard, model, folders)
    if card.input != "pairs":
        raise ModelError(
            f"{card.name}: compares poses with tracks; the figure is of networks of pairs: pose_entailment_paper"
        )
    weights = card.path.parent / card.weights
    if not weights.is_file():
        raise ModelError(f"{card.path}: the torch weights of {card.name} are not beside it, and they are needed here")
    network = load_weights(weights)
    if not isinstance(network, EntailmentNetwork):
        raise ModelError(f"{weights}: not the weights of a network of pairs, as {card.name} is")
    return card, network


def _images(
    images: Path, sequence: LabelledSequence, pair: PosePair, topic: str | None
) -> tuple[ImageArray, ImageArray]:
    """The current and the past frame."""
    from keytrack_ros.annotations.files import is_bag
    from keytrack_ros.errors import InputError
    from keytrack_ros.evaluation.gallery import image_of
    from keytrack_ros.media.sources import open_source

    places = (pair.image, pair.past_image)
    if images.is_file() or is_bag(images):
        now, then = (sequence.frame_numbers[k] for k in places)
        with open_source(images, topic=topic, start=then, frames=now - then + 1, in_stamp_order=True) as source:
            recorded = {frame.index: frame.image_bgr for frame in source}
        found = [recorded.get(now), recorded.get(then)]
    else:
        found = [image_of(images, sequence, k) for k in places]
    current, past = found
    if current is None or past is None:
        missing = places[0] if current is None else places[1]
        raise InputError(f"{images}: there is no image for {sequence.where(missing)}")
    return current, past


def _shown(
    pair: PosePair,
    sequence: LabelledSequence,
    images: tuple[ImageArray, ImageArray] | None,
    card: MatcherCard,
    network: EntailmentNetwork,
) -> ShownPair:
    """Asks the network about a pair."""
    import numpy as np

    from keytrack_ros.matching.tokens import pair_tokens, pose_tokens
    from keytrack_ros.research.attention import attention
    from keytrack_ros.research.attention_figure import ShownPair
    from keytrack_ros.research.compare import frame_size

    size = frame_size(sequence)
    if images is not None:
        size = images[0].shape[1], images[0].shape[0]
    current, past = (pose_tokens(one.keypoints, one.visible, size, card.grid) for one in (pair.current, pair.past))
    tokens = pair_tokens(current, past, np.array([pair.image - pair.past_image]), card.segments)
    found = attention(network, tokens)
    odds = float(found.logits[0, 1] - found.logits[0, 0])
    numbers = sequence.frame_numbers
    caption = (
        f"{'matching' if pair.same else 'non-matching'} pair: {pair.current.track_ids[0]} in frame "
        f"{numbers[pair.image]}, {pair.past.track_ids[0]} in frame {numbers[pair.past_image]}; "
        f"p(one person) = {1 / (1 + np.exp(-odds)):.3f}"
    )
    return ShownPair(pair, caption, found.weights[0], tokens.mask[0], images)
