"""What config.json of a ModernBERT or EuroBERT says of attention, in the forms of all versions of the
library.
"""

from collections.abc import Mapping
from pathlib import Path

from ..bodies.family import Family
from ..errors import InputError
from ..files.records import shown

GLOBAL, LOCAL = "full_attention", "sliding_attention"  # the types of a layer there
POOLING, FORMER_POOLING = "classifier_pooling", "clf_pooling"
# Names of version 4, which version 5 still reads, by ours.
NAMES = {
    "global_rope_theta": "global_rope_theta",
    "local_rope_theta": "local_rope_theta",
    "local_attention": "local_attention",
    "global_every": "global_attn_every_n_layers",
    "rope_theta": "rope_theta",
}


def read_modern_settings(
    config: Mapping[str, object], family: Family, layers: int, path: Path
) -> dict[str, object]:
    """The settings of attention by fairseq's names; none in other families.

    Args:
        config: the content of config.json.
        layers: of the model.
        path: of config.json, for messages.

    Raises:
        InputError: a value is of another type than it should be, or such that the model here cannot
            express it: rotary positions that are scaled, or other places of global layers.
    """
    if not family.settings:
        return {}
    found = {ours: config.get(NAMES[ours], default) for ours, default in family.settings.items()}
    if "rope_theta" in found:  # unsaid, it is not the published EuroBERTs', but some version's own
        found["rope_theta"] = config.get("rope_theta")
    rotary = config.get("rope_parameters")  # version 5
    rotary = rotary if isinstance(rotary, dict) else {}
    kinds = {"global_rope_theta": rotary.get(GLOBAL), "local_rope_theta": rotary.get(LOCAL)}
    kinds["rope_theta"] = rotary
    for name in filter(found.__contains__, kinds):
        one = kinds[name] if isinstance(kinds[name], dict) else {}
        if one.get("rope_type", "default") != "default":
            raise _unknown(
                path, family, f"rope_parameters of the type {shown(one['rope_type'])}", "'default'"
            )
        found[name] = one.get("rope_theta") or found[name]
    if config.get("rope_scaling"):
        raise _unknown(path, family, f"rope_scaling {shown(config['rope_scaling'])}", "none")
    width, heads = family.sizes["encoder_embed_dim"], family.sizes["encoder_attention_heads"]
    head_width = config[width] // config[heads]
    if config.get("head_dim") not in (None, head_width):
        raise _unknown(path, family, f"head_dim {shown(config['head_dim'])}", f"{head_width} here")
    for name, value in found.items():
        numbers = (int, float) if isinstance(family.settings[name], float) else (int,)
        if type(value) not in numbers or not value > 0:
            raise InputError(
                f"{path} has {NAMES[name]} {shown(value)}, which is not a number above 0"
            )
        found[name] = type(family.settings[name])(value)
    types = config.get("layer_types")
    if types is not None and "global_every" in found:
        found["global_every"] = _distance(types, layers, path, family)
    return found


def read_head_settings(
    config: Mapping[str, object], family: Family, path: Path
) -> dict[str, object]:
    """The settings of the heads of tasks by fairseq's names, from config.json.

    Arguments as in `read_modern_settings`.

    Raises:
        InputError: a classification head pools in a way that there is not.
    """
    found = {**family.head_settings, "pooler_activation_fn": family.pooler_activation}
    if family.poolings:
        names = {there: here for here, there in family.poolings.items()}
        default = config.get(FORMER_POOLING, family.poolings[found[POOLING]])
        given = config.get(POOLING, default)
        if given not in list(names):
            known = " or ".join(map(repr, names))
            raise _unknown(path, family, f"{POOLING} {shown(given)}", known)
        found[POOLING] = names[given]
    return found


def modern_config(settings: Mapping[str, object], family: Family) -> dict[str, object]:
    """These settings in the form that all versions read, from those of a body and of its heads."""
    found = {NAMES[name]: settings[name] for name in family.settings}
    return found | ({POOLING: family.poolings[settings[POOLING]]} if family.poolings else {})


def _distance(types: object, layers: int, path: Path, family: Family) -> int:
    """How far global layers are from each other; InputError: no such distance gives the types."""
    types = types if isinstance(types, list) else []
    found = [place for place, kind in enumerate(types) if kind == GLOBAL]
    every = found[1] if len(found) > 1 else layers
    if types != [LOCAL if one % every else GLOBAL for one in range(layers)]:
        raise _unknown(path, family, "layer_types", "layers 0, n, 2 n, ... with full_attention")
    return every


def _unknown(path: Path, family: Family, what: str, here: str) -> InputError:
    return InputError(
        f"{path} has {what}, and {family.model} has {here} and nothing else: the model cannot be "
        "imported"
    )
