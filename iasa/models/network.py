"""What every network of the package is: torch's module with diffusers' configuration and weight files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffusers import ConfigMixin, ModelMixin

if TYPE_CHECKING:
    from typing import Self


class Network(ModelMixin, ConfigMixin):
    """A network that `load_weights` reads; `config` holds the arguments of its `__init__`."""

    if TYPE_CHECKING:  # diffusers declares a plain dict, and a `to` that no checker can call
        config: Any

        def to(self, *args: Any, **kwargs: Any) -> Self: ...
