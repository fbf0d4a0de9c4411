"""The signature of every public loss and module, as documented: the text is the contract."""

FUNCTIONS = {
    "batch_all_triplet_loss": """(embeddings, labels, *, ref_embeddings=None, ref_labels=None,
        margin=1.0, similarity="euclidean", hinge="relu", average="active", reduction="mean")""",
    "binary_cross_entropy": """(input, target, *, weight=None, reduction="mean")""",
    "binary_cross_entropy_with_logits": """(input, target, *, weight=None, pos_weight=None,
        reduction="mean")""",
    "bpr_loss": """(positive, negative, *, positive_where=None, negative_where=None, weights=None,
        reduction="mean")""",
    "clip_loss": """(image, text, *, logit_scale=100.0, logit_bias=None, similarity="cosine",
        key_ids=None, label_smoothing=0.0, weights=None, group=None, reduction="mean")""",
    "cross_entropy": """(input, target, *, weight=None, ignore_index=-100, label_smoothing=0.0,
        reduction="mean")""",
    "hinge_loss": """(scores, labels, *, weights=None, reduction="mean")""",
    "info_nce": """(query, key, target=None, *, negatives=None, temperature=0.07,
        similarity="cosine", key_bias=None, key_ids=None, label_smoothing=0.0, margin=0.0,
        decoupled=False, weights=None, group=None, reduction="mean")""",
    "kl_div_with_logits": """(input, target, *, direction="forward", log_target=False,
        reduction="batchmean")""",
    "linear_cross_entropy": """(input, linear_weight, target, *, linear_bias=None, weight=None,
        ignore_index=-100, label_smoothing=0.0, reduction="mean")""",
    "listnet_loss": """(scores, labels, *, target="softmax", label_temperature=1.0, gain="exp2",
        where=None, offsets=None, list_weights=None, reduction="mean")""",
    "pairwise_hinge_loss": """(scores, labels, *, margin=1.0, power=1, pair_weight="none",
        method="auto", where=None, offsets=None, weights=None, list_weights=None,
        reduction="mean")""",
    "pairwise_logsumexp": """(query, key, *, temperature=1.0, similarity="dot", key_bias=None,
        dim=1)""",
    "pairwise_margin_loss": """(positive, negative, *, margin=1.0, positive_where=None,
        negative_where=None, weights=None, reduction="mean")""",
    "ranknet_loss": """(scores, labels, *, sigma=1.0, ties="skip", pair_weight="none",
        method="auto", log_base=None, where=None, offsets=None, weights=None, list_weights=None,
        reduction="mean")""",
    "sampled_softmax_loss": """(positive, negative, *, temperature=1.0, positive_log_q=None,
        negative_log_q=None, negative_where=None, weights=None, reduction="mean")""",
    "semi_hard_triplet_loss": """(embeddings, labels, *, ref_embeddings=None, ref_labels=None,
        margin=1.0, similarity="euclidean", reduction="mean")""",
}

# Constructor and forward.
MODULES = {
    "BatchAllTripletLoss": (
        """(*, margin=1.0, similarity="euclidean", hinge="relu", average="active",
        reduction="mean")""",
        """(embeddings, labels, *, ref_embeddings=None, ref_labels=None)""",
    ),
    "BCELoss": ("""(*, reduction="mean")""", """(input, target, *, weight=None)"""),
    "BCEWithLogitsLoss": (
        """(*, reduction="mean")""",
        """(input, target, *, weight=None, pos_weight=None)""",
    ),
    "BPRLoss": (
        """(*, reduction="mean")""",
        """(positive, negative, *, positive_where=None, negative_where=None, weights=None)""",
    ),
    "CLIPLoss": (
        f"""(init_logit_scale={1 / 0.07}, learnable=True, max_logit_scale=100.0, *,
        similarity="cosine", label_smoothing=0.0, group=None, reduction="mean")""",
        """(image, text, *, logit_bias=None, key_ids=None, weights=None)""",
    ),
    "CrossEntropyLoss": (
        """(*, ignore_index=-100, label_smoothing=0.0, reduction="mean")""",
        """(input, target, *, weight=None)""",
    ),
    "HingeLoss": ("""(*, reduction="mean")""", """(scores, labels, *, weights=None)"""),
    "InfoNCELoss": (
        """(temperature=0.07, learnable=False, *, similarity="cosine", label_smoothing=0.0,
        margin=0.0, decoupled=False, group=None, reduction="mean")""",
        """(query, key, target=None, *, negatives=None, key_bias=None, key_ids=None,
        weights=None)""",
    ),
    "KLDivWithLogitsLoss": (
        """(*, direction="forward", log_target=False, reduction="batchmean")""",
        """(input, target)""",
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
    "PairwiseMarginLoss": (
        """(*, margin=1.0, reduction="mean")""",
        """(positive, negative, *, positive_where=None, negative_where=None, weights=None)""",
    ),
    "RankNetLoss": (
        """(*, sigma=1.0, ties="skip", pair_weight="none", method="auto", log_base=None,
        reduction="mean")""",
        """(scores, labels, *, where=None, offsets=None, weights=None, list_weights=None)""",
    ),
    "SampledSoftmaxLoss": (
        """(temperature=1.0, learnable=False, *, reduction="mean")""",
        """(positive, negative, *, positive_log_q=None, negative_log_q=None, negative_where=None,
        weights=None)""",
    ),
    "SemiHardTripletLoss": (
        """(*, margin=1.0, similarity="euclidean", reduction="mean")""",
        """(embeddings, labels, *, ref_embeddings=None, ref_labels=None)""",
    ),
}
