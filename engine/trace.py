"""One captured pass of a model, and all that explanation methods may know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import IncompatibleExplainer
from engine.listening import Heard, Tap, Windows, at_rest, at_taps
from engine.lrp import LrpMode
from engine.probe import Probe, autocast, chosen
from engine.progress import Progress
from engine.targets import ClassTarget, RegionTarget, Target

__all__ = [
    "ClassTarget", "Inputs", "Reading", "RegionTarget", "Span", "Subject", "Tap", "Target",
    "Trace", "at_rest", "autocast", "capture", "enlarged", "untraced",
]  # fmt: skip

Inputs = Mapping[str, Tensor | None]


@dataclass(frozen=True)
class Span:
    """The tokens of one input: `prefix` tokens first, then a grid of patches, row by row.

    Args:
        prefix: Tokens before the first patch (class, distillation, registers).
        grid: Rows and columns of patches; of a convolutional network, of its last feature map.
        input: Name of the tensor in the network's inputs; the stream's own name when empty.
        readers: Tokens from which the class is read; empty where all patches are averaged.
        words: Tokens of a text, in order; empty for an image. Words have no grid.
        black: Value of black in the input's normalised units, one per channel.
        features: Name of the layer whose feature map is read where none is named; empty where the
            network has one only.
    """

    prefix: int
    grid: tuple[int, int]
    input: str = ""
    readers: tuple[int, ...] = (0,)
    words: tuple[str, ...] = ()
    black: tuple[float, ...] = (0.0,)
    features: str = ""


@dataclass(frozen=True)
class Reading:
    """What was heard at one place of the pass.

    Args:
        kind: As in `Heard`, or "input".
        stream: Input that the queries (or features) belong to.
        source: Input that the keys belong to.
        values: The tensor, detached, float32.
        gradients: Derivative of the target's score with respect to it, or None.
        layer: Name of the module that gave it, where it was asked for by name.
        relevance: LRP relevance of an attention matrix, where a relevance sweep was asked for.
        windows: How attention within windows lies on the image.
    """

    kind: str
    stream: str
    source: str
    values: Tensor
    gradients: Tensor | None
    layer: str = ""
    relevance: Tensor | None = None
    windows: Windows | None = None


@dataclass(frozen=True)
class Subject:
    """A network as explanation methods meet it.

    Args:
        network: The network. run: Inputs to output, taking the network's other arguments along.
        spans: Tokens of each input.
        listen: (kinds, gradients) to a context manager that yields the growing list of `Heard`.
        hold: (inputs, stream) to arguments of `run` that spare it what does not depend on that
            stream; one row per image.
        options: Keyword arguments of `run` in the captured pass.
    """

    network: nn.Module
    run: Callable[..., Any]
    spans: Mapping[str, Span]
    listen: Callable[[frozenset[str], bool], AbstractContextManager[list[Heard]]] | None = None
    hold: Callable[[Inputs, str], Mapping[str, Any]] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """One captured pass; all that an explainer may know.

    Args:
        spans: Tokens of each input.
        readings: In the order of the forward pass.
        inputs: The tensors that were given.
        probe: Stream to the model as a function of that input.
        refusals: Kind of reading to the reason why the pass could not give it.
    """

    spans: Mapping[str, Span]
    readings: tuple[Reading, ...]
    inputs: Inputs
    probe: Callable[[str], Probe]
    refusals: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> tuple[str, ...]:
        """Streams that are images."""
        return tuple(stream for stream, span in self.spans.items() if not span.words)

    def read(self, kind: str, stream: str, source: str | None = None) -> tuple[Reading, ...]:
        """Readings of a kind whose queries belong to `stream` (and keys to `source`), in order."""
        return tuple(
            reading
            for reading in self.readings
            if reading.kind == kind
            and reading.stream == stream
            and (source is None or reading.source == source)
        )

    def features(self, stream: str, layer: str | None = None) -> Reading:
        """The feature map of a layer, (B, K, h, w), prefix tokens dropped; the usual when None.

        Raises:
            IncompatibleExplainer: No such feature map was heard.
        """
        wanted = layer or self.spans[stream].features
        found = [r for r in self.read("features", stream) if r.layer == wanted]
        if not found:
            raise IncompatibleExplainer("The model has no feature map of this name.")
        return found[-1]

    def rows(self, stream: str, size: int) -> Tensor:
        """The tokens from which the class is read, as averaging weights, (1, 1, size)."""
        span = self.spans[stream]
        readers = span.readers or tuple(range(size - span.grid[0] * span.grid[1], size))
        row = torch.zeros(1, 1, size)
        row[..., list(readers)] = 1 / len(readers)
        return row

    def image(self, stream: str) -> Tensor:
        """The input tensor of a stream, (B, C, H, W)."""
        tensor = self.inputs[self.spans[stream].input or stream]
        assert tensor is not None
        return tensor

    def grid(self, tokens: Tensor, stream: str) -> Tensor:
        """Drop the prefix tokens and lay the rest out: (B, N) to (B, h, w)."""
        span = self.spans[stream]
        patches = tokens[:, tokens.shape[1] - span.grid[0] * span.grid[1] :]
        return patches.reshape(len(tokens), *span.grid)


def capture(
    subject: Subject,
    inputs: Inputs,
    target: Target,
    *,
    kinds: frozenset[str],
    gradients: bool = True,
    progress: Progress | None = None,
) -> tuple[Trace, Any]:
    """Run the network once, forward and (if asked) backward, and read it.

    Parameters are frozen during the pass, the graph begins at the first tensor that is read, and no
    `.grad` is written; the network is left as it was, whatever happens.

    Args:
        subject: The network and how it is heard.
        inputs: Tensors by name; None where an input is absent.
        target: What is explained. Samples do not interact in evaluation mode, so one backward pass
            of the sum serves the whole batch.
        kinds: Kinds to read; "input" reads the inputs themselves, "lrp" adds the relevance sweep.
        gradients: Whether readings carry gradients.
        progress: Told of every later evaluation by a probe.

    Returns:
        The trace, and the network's output, detached where it is a tensor or a mapping of tensors.

    Raises:
        IncompatibleExplainer: Nothing that is read has a gradient path to the target.
    """
    try:
        return _captured(subject, inputs, target, kinds, gradients, progress)
    except IncompatibleExplainer as refusal:
        if "lrp" not in kinds:
            raise
        trace, output = _captured(subject, inputs, target, kinds - {"lrp"}, gradients, progress)
        return replace(trace, refusals={"lrp": str(refusal)}), output


def untraced(
    subject: Subject, inputs: Inputs, target: ClassTarget, progress: Progress | None = None
) -> Trace:
    """A trace without a pass, for methods that only ask the model, about classes that are given."""
    watched = progress or Progress()
    return Trace(
        subject.spans, (), inputs, lambda stream: _probe(subject, inputs, target, stream, watched)
    )


def _captured(
    subject: Subject,
    inputs: Inputs,
    target: Target,
    kinds: frozenset[str],
    gradients: bool,
    progress: Progress | None,
) -> tuple[Trace, Any]:
    """`capture`; relevance is swept in full precision, since it divides by small numbers."""
    network, sweep = subject.network, LrpMode() if "lrp" in kinds else None
    listen = subject.listen or (lambda wanted, slopes: at_taps(network, wanted, slopes))
    with (
        torch.inference_mode(False),
        at_rest(network),
        torch.set_grad_enabled(gradients),
        _forgetting(sweep),
    ):
        given, heard_inputs = _leaves(subject, inputs, "input" in kinds and gradients)
        precision = autocast(_device(inputs)) if sweep is None else nullcontext()
        with sweep or nullcontext(), listen(kinds, gradients) as heard, precision:
            output = subject.run(given, **subject.options)
        settled = target.settled(output)
        heard = [*heard_inputs, *heard]
        relevance: dict[int, Tensor] = {}
        if sweep is not None:
            slopes, relevance = _swept(sweep, settled, output, heard)
        else:
            slopes = _slopes(settled, output, heard) if gradients else (None,) * len(heard)
    readings = tuple(
        _reading(subject, entry, slope, gradients, relevance.get(n))
        for n, (entry, slope) in enumerate(zip(heard, slopes, strict=True))
    )
    watched = progress or Progress()

    def probe(stream: str) -> Probe:
        return _probe(subject, inputs, settled, stream, watched)

    return Trace(subject.spans, readings, inputs, probe), _detached(output)


@contextmanager
def _forgetting(sweep: LrpMode | None) -> Iterator[None]:
    try:
        yield
    finally:
        if sweep is not None:
            sweep.forget()


def _device(inputs: Inputs) -> torch.device:
    return next(tensor.device for tensor in inputs.values() if tensor is not None)


def _leaves(subject: Subject, inputs: Inputs, begin: bool) -> tuple[Inputs, list[Heard]]:
    """The inputs; where they are to be read, as the beginnings of the graph."""
    given = {name: _own(tensor) for name, tensor in inputs.items()}
    heard: list[Heard] = []
    if not begin:
        return given, heard
    for stream, span in subject.spans.items():
        name = span.input or stream
        tensor = given[name]
        if tensor is not None and not span.words:
            given[name] = leaf = tensor.detach().clone().requires_grad_()
            heard.append(Heard("input", stream, stream, leaf))
    return given, heard


def _own(tensor: Tensor | None) -> Tensor | None:
    """A tensor that autograd may keep; those made in inference mode must be copied."""
    return tensor.clone() if tensor is not None and tensor.is_inference() else tensor


def _slopes(target: Target, output: Any, heard: list[Heard]) -> tuple[Tensor | None, ...]:
    if not heard:
        return ()
    score = target.scores(output)
    if not score.requires_grad:
        raise IncompatibleExplainer(
            "Nothing that the model lets be read leads from this image to the class."
        )
    tensors = [entry.values for entry in heard]
    slopes = torch.autograd.grad(score.sum(), tensors, allow_unused=True)
    return tuple(slopes)


def _swept(
    sweep: LrpMode, target: Target, output: Any, heard: list[Heard]
) -> tuple[tuple[Tensor | None, ...], dict[int, Tensor]]:
    """True gradients of all that was heard, and LRP relevance of attention within a stream."""
    places = [n for n, entry in enumerate(heard) if entry.kind in ("attention", "readout")]
    slopes, relevance = sweep.sweep(
        output,
        target.scores,
        [entry.values for entry in heard],
        [heard[n].values for n in places],
    )
    return tuple(slopes), dict(zip(places, relevance, strict=True))


def _reading(
    subject: Subject,
    entry: Heard,
    slope: Tensor | None,
    gradients: bool,
    relevance: Tensor | None = None,
) -> Reading:
    values = entry.values.detach().float()
    slopes = None
    if gradients:
        slopes = torch.zeros_like(values) if slope is None else slope.float()
    if entry.kind == "features":
        span = subject.spans[entry.stream]
        values = as_maps(values, span, last=entry.channels_last)
        slopes = None if slopes is None else as_maps(slopes, span, last=entry.channels_last)
    swept = None if relevance is None else relevance.detach().float()
    return Reading(
        entry.kind, entry.stream, entry.source, values, slopes, entry.layer, swept, entry.windows
    )


def _probe(
    subject: Subject, inputs: Inputs, target: Target, stream: str, progress: Progress
) -> Probe:
    span = subject.spans[stream]
    name = span.input or stream
    with torch.inference_mode(False):
        image = _own(inputs[name])
    assert image is not None
    with torch.no_grad(), at_rest(subject.network), autocast(image.device):
        held = {} if subject.hold is None else subject.hold(inputs, stream)
    rest = {other: tensor for other, tensor in inputs.items() if other != name}

    def call(images: Tensor, owners: Tensor) -> Any:
        others = chosen({k: v for k, v in rest.items() if k not in held}, owners)
        return subject.run({**others, name: images}, **chosen(held, owners))

    black = torch.tensor(span.black, device=image.device).expand(image.shape[1])
    return Probe(image, black, subject.network, call, target.scores, target.shares, progress)


def _detached(output: Any) -> Any:
    if isinstance(output, Mapping):
        return {k: v.detach() if isinstance(v, Tensor) else v for k, v in output.items()}
    return output.detach() if isinstance(output, Tensor) else output


def as_maps(values: Tensor, span: Span, *, last: bool = False) -> Tensor:
    """Features in any layout as (B, K, h, w), prefix tokens dropped.

    Args:
        values: (B, K, h, w), (B, h, w, K) when `last`, or tokens (B, N, K).
        span: The stream; its grid tells the shape of the tokens, or their proportions.

    Raises:
        IncompatibleExplainer: The tokens fill no grid.
    """
    if values.ndim == 4:
        return values.permute(0, 3, 1, 2) if last else values
    if values.ndim != 3:
        raise IncompatibleExplainer("What this layer gives is no map of features over the image.")
    rows, columns = span.grid
    if values.shape[1] != span.prefix + rows * columns:
        rows, columns = _proportioned(values.shape[1], rows / columns)
    patches = values[:, values.shape[1] - rows * columns :]
    return patches.transpose(1, 2).reshape(len(values), -1, rows, columns)


def _proportioned(count: int, ratio: float) -> tuple[int, int]:
    rows = max(1, round((count * ratio) ** 0.5))
    if count % rows:
        raise IncompatibleExplainer("The tokens of this layer fill no grid over the image.")
    return rows, count // rows


def enlarged(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, h, w) at (B, H, W): bilinear between the centres of cells, ends repeated."""
    if tuple(grid.shape[1:]) == size:
        return grid
    return F.interpolate(grid[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
