"""What differs between families of models: the tensors and settings, here and at Hugging Face.

Imports no PyTorch.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..kinds import CLASSIFICATION_HEADS, SPAN_HEAD, TAG_HEAD, TOKEN_HEADS
from .tensors import (
    EMBEDDING,
    FINAL_NORM,
    HEAD,
    LAYERS,
    MIDDLE_NORM,
    OUTPUT_BIAS,
    OUTPUT_PROJECTION,
    POSITIONS,
)

# What files of TensorFlow's BERT called the parts of a LayerNorm.
FORMER_NORM = re.compile(r"(?<=LayerNorm\.)(gamma|beta)$")
NORM_PARTS = {"gamma": "weight", "beta": "bias"}
# How names of a body's tensors begin in files of models without a head.
PARTS_OF_BODY = (
    "embeddings.", "encoder.", "transformer.", "pooler.", "layers.", "final_norm.", "embed_tokens.",
    "norm.",
)  # fmt: skip


class Module(NamedTuple):
    """A module of a family.

    Attributes:
        here: its name in the state dict of a checkpoint.
        there: its name in Hugging Face's files.
        weight, bias: the shapes of these tensors of it, a letter for each dimension; "": it has none.
    """

    here: str
    there: str
    weight: str = "dd"
    bias: str = "d"


class ModelType(NamedTuple):
    """A `model_type` of config.json.

    Attributes:
        classes: what Hugging Face's classes begin with.
        first_tokens: those before the pieces, where there is a SentencePiece model alone.
        left_out: of its pieces, these first ones are not in the vocabulary.
    """

    classes: str
    first_tokens: tuple[str, ...] = ("<s>", "<pad>", "</s>", "<unk>")  # fairseq's own
    left_out: int = 3

    def tokens(self, pieces: Sequence[str]) -> list[str]:
        """The vocabulary of a model that has these pieces of SentencePiece alone."""
        return [*self.first_tokens, *pieces[self.left_out :], "<mask>"]


class Parameter(NamedTuple):
    """A tensor: its names here and at Hugging Face, and its shape, a letter for each dimension."""

    here: str
    there: str
    shape: str


@dataclass(frozen=True)
class Family:
    """A kind of model: the names of its tensors and settings, and what is refused.

    In shapes, V stands for the vocabulary, P for the rows of positions, d for the width of the model,
    f for that of its feed-forward blocks, k for that of its keys and values, where it is another, and c
    for the outputs of a task's head.

    Attributes:
        name: in words.
        model: the model of this package that a body of the family is, by its name for --arch.
        settings: what its model has besides sizes and activation, by fairseq's names: the defaults.
        prefix_there: the beginning of Hugging Face's names of a body's tensors, which models without
            a head lack.
        embeddings: modules before the layers.
        layer: modules of a layer; their names begin with that of the layer.
        first_lacks: those that the first layer does not have, by their names here.
        joined_there: modules that are one in Hugging Face's files, one below the other: the ends of
            the names there, and of those that stand for its parts in `layer`.
        layers_there: the beginning of Hugging Face's names of a layer, with {} for its number.
        head: modules of the MLM head before its projection; their names here begin with that of the
            head.
        bias_there: the output bias in Hugging Face's files; "": there is none.
        projection_there: the output projection there; "": it is the token embedding.
        classifier, spans, tags: modules of the heads of tasks (`head_modules`), the last of which gives
            the outputs; their names here begin with that of the head, and are "" for a single layer.
            Without names there they neither come in nor go out.
        head_settings: what those heads are made by, by fairseq's names: the defaults.
        poolings: what a classification head can read, where there is a choice (`classifier_pooling`),
            and the names of that in config.json.
        tied_there: tensors that some of Hugging Face's versions store twice, and the same ones.
        token_types_there: the embedding of token types, whose first row is added to the positions; "":
            there is none.
        has_second_text: whether the second text of a pair has a type of its own (`SECOND_TEXT`).
        ignored_there: parts of the names of tensors there that hold no weights.
        model_types: what config.json calls the family.
        byte_level_type, pieces_type: those that are written, by what the tokenizer is: it is the
            tokenizer that one expects with each.
        sizes: settings in whole numbers that both have: fairseq's names to Hugging Face's.
        dimensions: the settings in config.json that say how long a dimension is, by its letter;
            that of P is the longest input, where there is no table of positions.
        rates: the same of probabilities, and the defaults.
        layer_norm_eps: the setting in config.json ("": it has none), and the library's default.
        fixed: settings in config.json that have one value here and no other. (Hugging Face's MLM head
            has GELU whatever the activation is, in some families.)
        activation_there: the one of them that is the activation function.
        embedding_size_there: the setting for the width of the token embeddings, which must be that of
            the model; "": there is none.
        pooler_activation: that of Hugging Face's classification head.
        position_offset: the number of rows before the first real position in Hugging Face's files.
        special_tokens: by the names of their roles in special_tokens_map.json.
        special_there: what those are called in the vocabularies of the family, if not so.
        pair_separators: how many </s> stand between the two texts of a pair.
        unsupported: options of fairseq's models that this package's model does not have.
        former_names: patterns of names in older checkpoints, and what stands for them now.
        joined: the pattern of tensors that hold several modules, one below the other (group 1: where
            they belong; 2: weight or bias), and the names of these modules.
    """

    name: str
    model: str
    settings: Mapping[str, object]
    prefix_there: str
    embeddings: tuple[Module, ...]
    layer: tuple[Module, ...]
    first_lacks: tuple[str, ...]
    joined_there: Mapping[str, tuple[str, ...]]
    layers_there: str
    head: tuple[Module, ...]
    bias_there: str
    projection_there: str
    classifier: tuple[Module, ...]
    spans: tuple[Module, ...]
    tags: tuple[Module, ...]
    head_settings: Mapping[str, str]
    poolings: Mapping[str, str]
    tied_there: Mapping[str, str]
    token_types_there: str
    has_second_text: bool
    ignored_there: str
    model_types: Mapping[str, ModelType]
    byte_level_type: str
    pieces_type: str
    sizes: Mapping[str, str]
    dimensions: Mapping[str, str]
    rates: Mapping[str, tuple[str, float]]
    layer_norm_eps: tuple[str, float]
    fixed: Mapping[str, object]
    activation_there: str
    embedding_size_there: str
    pooler_activation: str
    position_offset: int
    special_tokens: Mapping[str, str]
    special_there: Mapping[str, str]
    pair_separators: int
    unsupported: tuple[str, ...]
    former_names: tuple[tuple[re.Pattern[str], str], ...]
    joined: tuple[re.Pattern[str], tuple[str, ...]]

    @property
    def ffn(self) -> str:
        """The tensor of the first layer whose rows are the width of the feed-forward blocks."""
        return next(one.here for one in self.parameters([0], []) if one.shape == "fd")

    @property
    def key(self) -> str:
        """The tensor of the first layer whose rows are the width of keys; "": it is the model's."""
        named = self.parameters([0], [])
        return next((one.here for one in named if one.shape == "kd"), "")

    @property
    def is_tied(self) -> bool:
        """Whether the output projection is the token embedding."""
        return not self.projection_there

    @property
    def has_positions(self) -> bool:
        """Whether there is a table of positions."""
        return any(one.here == POSITIONS for one in _with_parts(self.embeddings))

    @property
    def has_final_norm(self) -> bool:
        """Whether a LayerNorm stands after the last layer, and in each middle head."""
        return any(one.here.startswith(FINAL_NORM) for one in _with_parts(self.embeddings))

    @property
    def is_modern(self) -> bool:
        """Whether the layers are built as ModernBERT's (`Shape.modern`)."""
        return self.has_final_norm

    def parameters(
        self, layers: Iterable[int], heads: Iterable[str] = (HEAD,)
    ) -> Iterator[Parameter]:
        """All parameters of a masked language model, each once: not the projection where it is tied.

        Args:
            layers: which, counted from 0.
            heads: what the names of its MLM heads begin with.
        """
        yield from _with_parts(self.embeddings)
        if self.bias_there:
            yield Parameter(OUTPUT_BIAS, self.bias_there, "V")
        if self.projection_there:
            yield Parameter(OUTPUT_PROJECTION, self.projection_there, "Vd")
        for head in heads:
            yield from _with_parts(self.head, head)
            if head != HEAD and self.has_final_norm:
                yield Parameter(f"{head}{MIDDLE_NORM}weight", "", "d")
        for number in layers:
            there = self.layers_there.format(number)
            modules = [one for one in self.layer if number or one.here not in self.first_lacks]
            yield from _with_parts(modules, f"{LAYERS}{number}.", there)

    def names_there(self, layers: Iterable[int]) -> dict[str, str]:
        """The names of the tensors of a masked language model: those here to Hugging Face's."""
        return {one.here: one.there for one in self.parameters(layers)}

    def head_names_there(self, classifier: str) -> dict[str, str]:
        """The same of the heads of tasks; `classifier`: the name of the classification head."""
        heads = filter(self.is_known_there, (classifier, *TOKEN_HEADS))
        return {one.here: one.there for head in heads for one in self.head_parameters(head)}

    def is_known_there(self, head: str) -> bool:
        """Whether a task's head has a form at Hugging Face; argument as in `head_modules`."""
        return all(one.there for one in self.head_modules(head))

    def head_modules(self, head: str) -> tuple[Module, ...]:
        """The modules of a task's head, the last of which gives its outputs.

        Args:
            head: the name of a classification head, or one of `TOKEN_HEADS`.
        """
        modules = {SPAN_HEAD: self.spans, TAG_HEAD: self.tags}.get(head, self.classifier)
        start = head if head in TOKEN_HEADS else f"{CLASSIFICATION_HEADS}{head}"
        return tuple(
            one._replace(here=f"{start}.{one.here}" if one.here else start) for one in modules
        )

    def head_parameters(self, head: str) -> Iterator[Parameter]:
        """All parameters of a task's head; argument as in `head_modules`."""
        return _with_parts(self.head_modules(head))

    def shapes(
        self, layers: Iterable[int], sizes: Mapping[str, int], heads: Iterable[str] = (HEAD,)
    ) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters by their names here; `sizes`: by their letters."""
        shapes = {
            one.here: tuple(sizes[letter] for letter in one.shape)
            for one in self.parameters(layers, heads)
        }
        return shapes | {OUTPUT_PROJECTION: shapes[EMBEDDING]}

    def present_name_there(self, name: str) -> str:
        """What Hugging Face's library calls a tensor now that a file has as `name`."""
        name = FORMER_NORM.sub(lambda match: NORM_PARTS[match[1]], name)
        return self.prefix_there + name if name.startswith(PARTS_OF_BODY) else name

    def present_name(self, name: str) -> str:
        """What a tensor is called now that an older fairseq has called `name`."""
        for former, new in self.former_names:
            name = former.sub(new, name)
        return name


def _with_parts(modules: Iterable[Module], here: str = "", there: str = "") -> Iterator[Parameter]:
    for module in modules:
        for part, shape in (("weight", module.weight), ("bias", module.bias)):
            if shape:
                names = f"{here}{module.here}.{part}", f"{there}{module.there}.{part}"
                yield Parameter(*names, shape)
