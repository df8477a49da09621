"""What passes between the layers of a model: read, or edited on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from torch import Tensor

from xaieval.bound import Bound
from xaieval.contributions import Kernel
from xaieval.layers import Edit, find_layer, kernel_of, last_convolution
from xaieval.propagation import Propagation
from xaieval.scores import Scores


class Inner(Bound):
    """Bound inputs with the layers of their model."""

    @cached_property
    def _looked_up(self) -> set[str]:
        """Layers that were read by default."""
        return set()

    @cached_property
    def _watched(self) -> list[tuple[str, ...]]:
        """Layers that were watched together."""
        return []

    def activations(self, layers: Sequence[str], arrived: bool = False) -> dict[str, tuple[Tensor, Tensor]]:
        """For each layer its output and the logit's gradient there, `(N, K, h, w)` each; of texts `(N, K, T)`.

        Tokens `(N, T, D)` and channels-last activations come as the grid of their places, see `xaieval.places`. Places
        of a text are its own tokens in their order; what is not present, special tokens and padding, has 0.

        One forward and one backward for all layers. The layers that methods read by default are watched together, so
        that they share it.

        Args:
            layers: Dotted names.
            arrived: Each layer's input in place of its output; the gradient is that at the output still.

        Raises:
            ValueError: The model has no such layer, or the call never reaches it.
            UnsupportedError: A layer's tokens are no grid, or its axes cannot be told.
        """
        watched = self._together(layers) if not arrived else tuple(layers)

        def make() -> dict[str, tuple[Tensor, Tensor]]:
            self._check_weights()
            self.meter.spend(self.count, self.count)
            found = self.classifier.activations(
                self.inputs, self.target, watched, arrived, attended=self.attended, present=self.present
            )
            self._checked_layers({name: output for name, (output, _) in found.items()})
            return found

        found = self.shared(f"{'arrivals' if arrived else 'activations'}:{sorted(watched)}", make)
        return {name: found[name] for name in layers}

    def propagated_to(self, layer: str, make: Callable[[], Propagation]) -> tuple[Tensor, Tensor]:
        """A layer's output and what a propagation brings back from the logit to it, `(N, K, h, w)` each.

        One forward and one backward. What comes before the layer needs no rules.

        Args:
            layer: Dotted name.
            make: The rules; called anew for each call of the model.

        Raises:
            ValueError: The model has no such layer, the call never reaches it, or its output has no places.
            UnsupportedError: The model calls a function after the layer that has no rule.
        """
        self._check_weights()
        self.meter.spend(self.count, self.count)
        found = self.classifier.activations(
            self.inputs, self.target, (layer,), make=make, attended=self.attended, present=self.present
        )
        output, relevance = found[layer]
        self._checked_layers({layer: output})
        return output, relevance

    def _together(self, layers: Sequence[str]) -> tuple[str, ...]:
        """Layers that were watched before if these are among them, else all that are read by default if these are."""
        for watched in self._watched:
            if set(layers) <= set(watched):
                return watched
        default = bool(layers) and set(layers) <= self._looked_up
        together = (self.layer("normgrad"), self.layer("grad_cam"), *layers) if default else layers
        self._watched.append(tuple(dict.fromkeys(together)))
        return self._watched[-1]

    def outputs(self, layers: Sequence[str]) -> dict[str, Tensor]:
        """The output of each layer, `(N, K, h, w)` as in `activations`, from one forward for all layers.

        Raises:
            ValueError: The model has no such layer, or the call never reaches it.
            UnsupportedError: A layer's tokens are no grid, or its axes cannot be told.
        """

        def make() -> dict[str, Tensor]:
            self._check_weights()
            self.meter.spend(self.count)
            return self._checked_layers(self.classifier.outputs(self.inputs, layers, self.attended, self.present))

        return self.shared(f"outputs:{sorted(layers)}", make)

    def _checked_layers(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs, which have to have places.

        Raises:
            ValueError: One has not.
        """
        for name, output in outputs.items():
            if output.dim() != self.inputs.dim():
                raise ValueError(
                    f"layer {name!r} gives {tuple(output.shape)}, expected a spatial output like the inputs' "
                    f"{tuple(self.shape)}: name a layer before pooling or flattening"
                )
        return outputs

    def edited(
        self,
        inputs: Tensor,
        target: Tensor,
        arriving: Mapping[str, Edit] | None = None,
        outputs: Mapping[str, Edit] | None = None,
        attended: Tensor | None = None,
    ) -> Scores:
        """Scores `(n,)` for the targets `(n,)` of one call in which tensors between layers are edited; n forwards.

        Args:
            inputs: `(n, C, *F)`, or `(1, C, *F)` where an edit puts activations of n inputs in place.
            target: The class explained for each, `(n,)`.
            arriving: What becomes of the first argument of a layer, by the layer's name.
            outputs: What becomes of the output of a layer as `activations` gives it, by the layer's name.
            attended: `(n, *F)` as the inputs; None: the inputs are those of the samples, row by row, or of the one
                sample, and of texts only present tokens are edited.

        Raises:
            ValueError: A layer that the model does not have, or that was not reached by the call.
        """
        self._check_weights()
        self.meter.spend(len(target))
        present = self.present if attended is None else None
        attended = self.attended if attended is None else attended
        return self.classifier.edited(inputs, target, arriving, outputs, attended, present)

    def mean(self, values: Tensor) -> Tensor:
        """Mean `(N, K)` of values `(N, K, *places)` at a layer over its places; over a text's own, not its padding."""
        flat = values.flatten(2)
        if self.present is None or values.dim() > 3:
            return flat.mean(2)
        return flat.sum(2) / self.present.sum(1, keepdim=True)

    def convolution(self, method: str) -> str:
        """The last convolution in the layer that a method reads if none is named."""
        return last_convolution(self.classifier.module, self.layer(method))

    def kernel(self, layer: str, arrived: Tensor) -> Kernel:
        """The geometry of a convolution with the input `(N, K, H, W)`.

        Raises:
            ValueError: The layer is no 2-D convolution that pads with zeros.
        """
        return kernel_of(layer, find_layer(self.classifier.module, layer), arrived.shape[2:])

    def layer(self, method: str) -> str:
        """The layer that a method reads if none is named, see `Places.default_layer`."""
        layer = self.classifier.default_layer(method, self.inputs, self.attended)
        self._looked_up.add(layer)
        return layer
