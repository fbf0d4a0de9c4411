"""The signature of every public loss and module, as documented: the text is the contract."""

FUNCTIONS = {
    "clip_loss": """(image, text, *, logit_scale=100.0, logit_bias=None, similarity="cosine",
        key_ids=None, label_smoothing=0.0, weights=None, group=None, reduction="mean")""",
    "info_nce": """(query, key, target=None, *, negatives=None, temperature=0.07,
        similarity="cosine", key_bias=None, key_ids=None, label_smoothing=0.0, margin=0.0,
        decoupled=False, weights=None, group=None, reduction="mean")""",
    "linear_cross_entropy": """(input, linear_weight, target, *, linear_bias=None, weight=None,
        ignore_index=-100, label_smoothing=0.0, reduction="mean")""",
    "listnet_loss": """(scores, labels, *, target="softmax", label_temperature=1.0, gain="exp2",
        where=None, offsets=None, list_weights=None, reduction="mean")""",
    "pairwise_hinge_loss": """(scores, labels, *, margin=1.0, power=1, pair_weight="none",
        method="auto", where=None, offsets=None, weights=None, list_weights=None,
        reduction="mean")""",
    "pairwise_logsumexp": """(query, key, *, temperature=1.0, similarity="dot", key_bias=None,
        dim=1)""",
    "ranknet_loss": """(scores, labels, *, sigma=1.0, ties="skip", pair_weight="none",
        method="auto", log_base=None, where=None, offsets=None, weights=None, list_weights=None,
        reduction="mean")""",
}

# Constructor and forward.
MODULES = {
    "CLIPLoss": (
        f"""(init_logit_scale={1 / 0.07}, learnable=True, max_logit_scale=100.0, *,
        similarity="cosine", label_smoothing=0.0, group=None, reduction="mean")""",
        """(image, text, *, logit_bias=None, key_ids=None, weights=None)""",
    ),
    "InfoNCELoss": (
        """(temperature=0.07, learnable=False, *, similarity="cosine", label_smoothing=0.0,
        margin=0.0, decoupled=False, group=None, reduction="mean")""",
        """(query, key, target=None, *, negatives=None, key_bias=None, key_ids=None,
        weights=None)""",
    ),
    "LinearCrossEntropyLoss": (
        """(*, ignore_index=-100, label_smoothing=0.0, reduction="mean")""",
        """(input, linear_weight, target, *, linear_bias=None, weight=None)""",
    ),
    "ListNetLoss": (
        """(*, target="softmax", label_temperature=1.0, gain="exp2", reduction="mean")""",
        """(scores, labels, *, where=None, offsets=None, list_weights=None)""",
    ),
    "PairwiseHingeLoss": (
        """(*, margin=1.0, power=1, pair_weight="none", method="auto", reduction="mean")""",
        """(scores, labels, *, where=None, offsets=None, weights=None, list_weights=None)""",
    ),
    "RankNetLoss": (
        """(*, sigma=1.0, ties="skip", pair_weight="none", method="auto", log_base=None,
        reduction="mean")""",
        """(scores, labels, *, where=None, offsets=None, weights=None, list_weights=None)""",
    ),
}
