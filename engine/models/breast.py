"""The cross-modal breast network: mammogram and pathology through one trunk, four tasks.

Design A of the client, with the corrections that the literature needs: a truly shared trunk,
cross-attention on the prediction path, CORN grades, GIoU boxes, masked task weighting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.breast_loss import TASKS, BreastLoss
from engine.models.layers.alignment import POSITIVES, CrossModalAlignment
from engine.models.layers.attention import CrossModalAttention, Readout
from engine.models.layers.encoder import SharedViTEncoder
from engine.models.layers.heads import (
    ClassificationHead,
    GradingHead,
    LesionMapHead,
    LocalizationHead,
    best_box,
)
from engine.models.layers.interpretability import InterpretabilityModule
from engine.models.layers.multitask import UncertaintyWeightedMultiTaskLoss
from engine.models.layers.ordinal import grade_log_probabilities

MAMMOGRAPHY, PATHOLOGY = "mammography", "pathology"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = {"small": (384, 6, 6), "medium": (768, 12, 12), "large": (1024, 24, 16)}
"""Width, blocks and heads."""
BOX_LOG_VARIANCE = 2.0


class BreastCancerDiagnosisModel(BreastLoss):
    """Class, ordinal grade, lesion box and lesion map from a mammogram, with or without pathology.

    Args:
        img_size: Side of the mammogram input, pixels. patch_size: Side of a patch, pixels.
        embed_dim: Width D. depth: Blocks. num_heads: Heads of the trunk.
        num_classes: Classes K. num_grades: Grades G.
        use_dg: Generalise in training: modality dropout and, where asked for, MixStyle.
        use_interpretability: Offer `heatmap` and its companions in `forward`.
        projection_dim: Width of the contrastive space. temperature: Its initial tau.
        dropout: In blocks and heads. adapter_dim: Adapter bottleneck, D // 4 when None.
        cross_heads: Heads of the cross-attention and of the readouts.
        stem: "patch" or "convolutional"; see `PatchEmbedding`.
        modality_dropout: Share of training samples whose pathology is hidden.
        top_k: Pathology patches to return.
        permute_mlp, mixstyle, mixstyle_alpha: See `SharedViTEncoder`.
        ordinal: How grades are learnt, one of `engine.models.layers.ordinal.ORDINAL`.
        positives: What is aligned: images of one "patient", of one "label", or "both".
        lesions: Boxes that can be found in one image, 1 to 5.
        queue: Earlier pairs kept as negatives of the alignment; 0 for none.
        lesion_focus: Focal exponent gamma of the lesion map's loss; 0 is plain cross-entropy.
        graded_classes: Class of each grade, lowest grade first, which the consistency loss ties to
            it; none when empty. When None the last G classes where K = G + 1, else none.

    Raises:
        ValueError: An option that is not among those named here.
    """

    pathology_mean: Tensor
    pathology_std: Tensor

    def __init__(
        self,
        img_size: int = 224,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        num_classes: int = 4,
        num_grades: int = 3,
        use_dg: bool = True,
        use_interpretability: bool = True,
        projection_dim: int = 256,
        temperature: float = 0.07,
        *,
        dropout: float = 0.1,
        adapter_dim: int | None = None,
        cross_heads: int = 8,
        stem: str = "patch",
        modality_dropout: float = 0.3,
        top_k: int = 5,
        permute_mlp: bool = False,
        mixstyle: float = 0.0,
        mixstyle_alpha: float = 0.1,
        ordinal: str = "corn",
        positives: str = "patient",
        lesions: int = 1,
        queue: int = 0,
        lesion_focus: float = 0.0,
        graded_classes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if positives not in POSITIVES:
            raise ValueError(f"positives {positives!r} is not one of {POSITIVES}")
        self.positives = positives
        self.lesion_focus = lesion_focus
        self.graded_classes = _graded(graded_classes, num_classes, num_grades)
        self.patch_size = patch_size
        self.use_interpretability = use_interpretability
        self.modality_dropout = modality_dropout if use_dg else 0.0
        self.encoder = SharedViTEncoder(
            img_size,
            patch_size,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            adapter_dim=adapter_dim,
            dropout=dropout,
            modalities={MAMMOGRAPHY: 1, PATHOLOGY: 3},
            stem=stem,
            permute_mlp=permute_mlp,
            mixstyle=mixstyle if use_dg else 0.0,
            mixstyle_alpha=mixstyle_alpha,
        )
        self.interpretability = InterpretabilityModule(embed_dim, cross_heads, top_k)
        self.patho_cross = CrossModalAttention(embed_dim, cross_heads)
        self.mammo_gate = nn.Parameter(torch.zeros(embed_dim))
        self.patho_gate = nn.Parameter(torch.zeros(embed_dim))
        self.mammo_readout = Readout(embed_dim, cross_heads)
        self.patho_readout = Readout(embed_dim, cross_heads)
        self.fusion_gate = nn.Linear(2 * embed_dim, embed_dim)
        self.absent = nn.Parameter(torch.zeros(embed_dim))
        self.fusion_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.alignment = CrossModalAlignment(embed_dim, temperature, projection_dim, queue)
        self.classification = ClassificationHead(embed_dim, num_classes, dropout)
        self.grading = GradingHead(embed_dim, num_grades, dropout, ordinal)
        self.localization = LocalizationHead(embed_dim, dropout=dropout, lesions=lesions)
        self.lesion_map = LesionMapHead(embed_dim)
        self.mammo_alone = nn.Linear(embed_dim, num_classes)
        self.patho_alone = nn.Linear(embed_dim, num_classes)
        self.lesion_pull = nn.Parameter(torch.tensor(0.5))
        self.task_weights = UncertaintyWeightedMultiTaskLoss(len(TASKS))
        with torch.no_grad():  # a box costs 5 L1 + 2 GIoU: about seven times the other tasks
            self.task_weights.log_variances[TASKS.index("localization")] = BOX_LOG_VARIANCE
        self.register_buffer("pathology_mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("pathology_std", torch.tensor(IMAGENET_STD).view(3, 1, 1))

    @classmethod
    def sized(cls, size: str, **more: Any) -> BreastCancerDiagnosisModel:
        """The "small", "medium" or "large" network; `more` as in the constructor.

        Raises:
            ValueError: Another size.
        """
        if size not in SIZES:
            raise ValueError(f"size {size!r} is not one of {tuple(SIZES)}")
        embed_dim, depth, num_heads = SIZES[size]
        return cls(**{"embed_dim": embed_dim, "depth": depth, "num_heads": num_heads} | more)

    def normalise_pathology(self, pixels: Tensor) -> Tensor:
        """RGB in [0, 1], (B, 3, H, W), to ImageNet statistics."""
        return (pixels - self.pathology_mean) / self.pathology_std

    def forward(
        self,
        mammo_img: Tensor,
        patho_img: Tensor | None = None,
        return_interpretability: bool = False,
        return_patch_tokens: bool = False,
        *,
        patho_present: Tensor | None = None,
        encoded: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Predict.

        Args:
            mammo_img: (B, 1, H, W) in [-1, 1].
            patho_img: (B, 3, H', W'), ImageNet statistics; None when there is no pathology.
            return_interpretability: Add `heatmap` (B, H, W), `heatmap_localised` (B,),
                `top_patho_patches` (B, k, D), `top_indices` (B, k) and `attention_weights`
                (B, Nm, Np); needs pathology.
            return_patch_tokens: Add `mammo_tokens` and `patho_tokens`, (B, N, D).
            patho_present: (B,) bool, where a batch mixes cases with and without pathology; taken
                as it is. Drawn here when None, in training with modality dropout.
            encoded: What the encoder gave for an image earlier, by modality: (B, D) and (B, N, D).

        Returns:
            `classification` (B, K) logits; `mammo_alone` and, with pathology, `patho_alone` (B, K),
            logits of one modality; `localization` (B, 4) left, top, width, height in [0, 1];
            `grading` (B, G) log-probabilities; `grading_ordinal`, what the grades' loss reads
            (CORN: (B, G - 1) conditional logits); with several lesions `boxes` (B, L, 4),
            `box_scores` (B, L) in [0, 1] and their `box_logits`;
            `lesion_map` (B, h, w) logits; `z_mammo` (B, D). With pathology also `z_patho`,
            `mammo_proj`, `patho_proj`, and `patho_present` when it was given or drawn.

        Raises:
            ShapeMismatch: Wrong number of channels or sides that patches do not fill.
        """
        z_mammo, mammo = self._encoded(mammo_img, MAMMOGRAPHY, encoded)
        out: dict[str, Tensor] = {"z_mammo": z_mammo}
        z_patho, patho, present = None, None, None
        if patho_img is not None:
            z_patho, patho = self._encoded(patho_img, PATHOLOGY, encoded, patho_present)
            out["patho_alone"] = self.patho_alone(z_patho + patho.mean(1))
            present = self._presence(len(mammo), patho_present, mammo.device)
            if return_interpretability and self.use_interpretability:
                size = (mammo_img.shape[2], mammo_img.shape[3])
                out |= self.interpretability(mammo, patho, size, self.patch_size)
            mammo, patho = self._exchange(mammo, patho, present)
            out["z_patho"] = z_patho
            out["mammo_proj"], out["patho_proj"] = self.alignment(z_mammo, z_patho)
            if present is not None:
                out["patho_present"] = present
        grid = self.encoder.grid(mammo_img.shape[2], mammo_img.shape[3])
        out["lesion_map"] = self.lesion_map(mammo, grid)
        pull = self._pull(out["lesion_map"])
        found = self._where(out["lesion_map"], mammo)
        out["mammo_alone"] = self.mammo_alone(z_mammo + found)
        fused = self._fuse(z_mammo, mammo, z_patho, patho, present, pull)
        out["classification"] = self.classification(fused)
        out["grading_ordinal"] = self.grading.ordinal(fused)
        out["grading"] = grade_log_probabilities(out["grading_ordinal"], self.grading.kind)
        out |= self._boxes(mammo, pull, grid)
        if return_patch_tokens:
            out["mammo_tokens"] = mammo
            if patho is not None:
                out["patho_tokens"] = patho
        return out

    def _boxes(self, mammo: Tensor, pull: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        boxes, beliefs = self.localization.all_boxes(mammo, pull, grid)
        found = {"localization": best_box(boxes, beliefs)}
        if boxes.shape[1] == 1:
            return found
        return found | {"boxes": boxes, "box_logits": beliefs, "box_scores": beliefs.sigmoid()}

    def _encoded(
        self,
        image: Tensor,
        modality: str,
        given: Mapping[str, tuple[Tensor, Tensor]] | None,
        present: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if given is not None and modality in given:
            return given[modality]
        return self.encoder(image, True, modality=modality, present=present)

    def _presence(self, count: int, given: Tensor | None, device: torch.device) -> Tensor | None:
        if given is not None or not (self.training and self.modality_dropout):
            return given
        return torch.rand(count, device=device) >= self.modality_dropout

    def _exchange(
        self, mammo: Tensor, patho: Tensor, present: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Bidirectional gated cross-attention; an absent pathology tells the mammogram nothing."""
        to_mammo = self.interpretability.cross.mix(mammo, patho, MAMMOGRAPHY, PATHOLOGY)
        to_patho = self.patho_cross.mix(patho, mammo, PATHOLOGY, MAMMOGRAPHY)
        if present is not None:
            to_mammo = to_mammo * present[:, None, None].to(to_mammo.dtype)
        return mammo + self.mammo_gate * to_mammo, patho + self.patho_gate * to_patho

    def _pull(self, lesion_map: Tensor) -> Tensor:
        """Lesion logit of each patch (B, N), scaled: where the readout should look."""
        return self.lesion_pull * patch_logits(lesion_map, self.lesion_map.cells)

    def _where(self, lesion_map: Tensor, mammo: Tensor) -> Tensor:
        """Mammogram tokens averaged by lesion probability, (B, D)."""
        shares = patch_logits(lesion_map, self.lesion_map.cells).softmax(1)
        return (shares[..., None].to(mammo.dtype) * mammo).sum(1)

    def _fuse(
        self,
        z_mammo: Tensor,
        mammo: Tensor,
        z_patho: Tensor | None,
        patho: Tensor | None,
        present: Tensor | None,
        pull: Tensor,
    ) -> Tensor:
        """z = LN(z_m + g z_p), or LN(z_m + g0) where pathology is absent; (B, D)."""
        bias = F.pad(pull, (1, 0))
        seen = torch.cat((z_mammo[:, None], mammo), dim=1)
        base = self.mammo_readout(seen, MAMMOGRAPHY, bias)
        extra = self.absent.expand_as(base)
        if z_patho is not None and patho is not None:
            read = self.patho_readout(torch.cat((z_patho[:, None], patho), dim=1), PATHOLOGY)
            gated = self.fusion_gate(torch.cat((base, read), dim=-1)).sigmoid() * read
            extra = gated if present is None else torch.where(present[:, None], gated, extra)
        return self.fusion_norm(base + extra)


def _graded(named: Sequence[int] | None, classes: int, grades: int) -> tuple[int, ...]:
    if named is None:
        return tuple(range(1, classes)) if classes == grades + 1 else ()
    found = tuple(named)
    if len(set(found)) < len(found) or not all(0 <= number < classes for number in found):
        raise ValueError(f"graded_classes {found} are not different classes below {classes}")
    return found


def patch_logits(lesion_map: Tensor, cells: int) -> Tensor:
    """Largest lesion logit within each patch; (B, h * cells, w * cells) to (B, h w)."""
    return F.max_pool2d(lesion_map[:, None], cells).flatten(1)
