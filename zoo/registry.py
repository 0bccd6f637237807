"""Short names for the command line. Strings and numbers only, so that listing them imports nothing."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NONE: Mapping[str, str] = MappingProxyType({})
_OF_FEW_LABELS = MappingProxyType({"cross_validation": "callbacks.predictions.cross_validation.CrossValidation"})


class Technique(NamedTuple):
    """A module's import path, the short name of its default data, a summary, and its own defaults and callbacks.

    ``--help`` lists its ``usual`` options first, and ``examples``: what may follow ``--module NAME``.
    """

    path: str
    data: str
    summary: str
    default_budget: str = ""  # where the data's (below) does not suit the technique, whatever the data
    budget_on_default_data: str = ""
    default_data_args: tuple[str, ...] = ()  # of its default data
    callbacks: Mapping[str, str] = NONE  # of this technique alone: the name of their options, import path
    usual: tuple[str, ...] = ()
    examples: tuple[str, ...] = ("",)
    next_step: str = "--module finetune --module.backbone {run}/encoder"  # arguments of the command to type next


class Source(NamedTuple):
    """A datamodule's import path, how long ``--module`` trains on it by default, and a summary.

    Where it reads users' files, ``path_option`` names the option for them, ``endings`` are theirs, and ``folders`` says
    whether it takes a folder of them.
    """

    path: str
    default_budget: str  # an option of the trainer; "" is by the number of samples (``callbacks.run.length``)
    summary: str
    path_option: str = ""
    endings: tuple[str, ...] = ()
    folders: bool = False


MODULES = {
    "autoencoder": Technique(
        "zoo.modules.autoencoder.AutoencoderModule",
        "digits",
        "plain, denoising, sparse, contractive, (beta-)variational and importance-weighted autoencoders",
        budget_on_default_data="max_epochs=80",
        usual=(
            "variant",
            "network",
            "latent_dim",
            "beta",
            "std",
            "corruption",
            "lr",
        ),
        examples=(
            "",
            "--module.variant denoising --module.corruption masking",
            "--module.beta 4 --module.latent_dim 8 --trainer.max_epochs 50",
        ),
    ),
    "vqvae": Technique(
        "zoo.modules.vqvae.VQVAEModule",
        "digits",
        "autoencoder with a learned codebook (VQ-VAE)",
        budget_on_default_data="max_epochs=100",
        usual=(
            "network",
            "codes",
            "code_dim",
            "commitment_weight",
            "std",
            "lr",
        ),
        examples=(
            "",
            "--module.codes 64 --module.code_dim 8",
            "--data digits_m --trainer.max_epochs 50",
        ),
    ),
    "masked": Technique(
        "zoo.modules.masked_autoencoder.MaskedAutoencoderModule",
        "digits",
        "masked autoencoder (MAE): a vision transformer that fills in hidden patches of images",
        budget_on_default_data="max_epochs=25",
        callbacks={"masked_images": "callbacks.by_technique.masked_autoencoder.MaskedImages"},
        usual=(
            "network",
            "mask_ratio",
            "mask_block",
            "class_tokens",
            "predict",
            "lr",
        ),
        examples=(
            "",
            "--module.class_tokens 0 --module.lr 0.002",
            "--module.mask_block 2 --module.class_tokens 4 --module.predict 0.5",
        ),
    ),
    "gan": Technique(
        "zoo.modules.gan.GANModule",
        "digits",
        "generative adversarial networks: six objectives, R1/R2/WGAN-GP, DiffAugment, conditional or not",
        budget_on_default_data="max_epochs=40",
        usual=(
            "objective",
            "network",
            "latent_dim",
            "prior",
            "conditional",
            "augment",
            "r1",
            "lr",
        ),
        examples=(
            "",
            "--module.conditional true",
            "--module.objective hinge --module.r1 0.1",
        ),
    ),
    "contrastive": Technique(
        "zoo.modules.contrastive.ContrastiveModule",
        "digits",
        "self-supervised on views of images: SimCLR, VICReg, Barlow Twins, BYOL, SimSiam, MoCo v3, DINO, LeJEPA",
        callbacks={
            "views": "callbacks.by_technique.contrastive.Views",
            "embedding_collapse": "callbacks.by_technique.contrastive.EmbeddingCollapse",
        },
        default_data_args=("--data.labels_per_class=10",),
        budget_on_default_data="max_epochs=40",
        usual=(
            "method",
            "network",
            "recipe",
            "local_views",
            "temperature",
            "weight",
            "lr",
        ),
        examples=(
            "",
            "--module.method simclr --module.recipe mild",
            "--data digits_m --module.network cifar_resnet --module.local_views 4",
        ),
    ),
    "finetune": Technique(
        "zoo.modules.finetune.FinetuneModule",
        "digits",
        "transfer learning from any encoder: probe, full, LP-FT, gradual, LoRA, L2-SP; or from scratch",
        budget_on_default_data="max_epochs=100",
        default_data_args=("--data.labels_per_class=5", "--data.labelled_only=true"),
        usual=(
            "backbone",
            "pretraining",
            "weights",
            "mode",
            "lora_rank",
            "mixup",
            "label_smoothing",
            "lr",
        ),
        examples=(
            "",
            "--module.backbone runs/autoencoder-digits/1/encoder",
            "--module.mode full --data.labels_per_class 20",
        ),
        next_step="predict --module finetune --ckpt_path {run}/checkpoints/best.ckpt",
        callbacks={
            "baseline_comparison": "callbacks.predictions.baseline_comparison.BaselineComparison",
            **_OF_FEW_LABELS,
        },
    ),
    "distill": Technique(
        "zoo.modules.distill.DistillModule",
        "digits",
        "knowledge distillation from one teacher or several: KD, DKD, hints, attention, RKD, CRD",
        default_data_args=("--data.labels_per_class=10",),
        budget_on_default_data="max_epochs=50",
        usual=(
            "teacher",
            "backbone",
            "kd_weight",
            "dkd_weight",
            "temperature",
            "teacher_epochs",
            "lr",
        ),
        examples=(
            "",
            "--module.teacher runs/finetune-digits/1/checkpoints/best.ckpt",
            "--module.dkd_weight 0 --module.kd_weight 1 --module.temperature 4",
        ),
        next_step="predict --module distill --ckpt_path {run}/checkpoints/best.ckpt",
        callbacks={
            "distillation_comparison": "callbacks.predictions.distillation_comparison.DistillationComparison",
            **_OF_FEW_LABELS,
        },
    ),
    "adapt": Technique(
        "zoo.modules.adapt.AdaptModule",
        "domains",
        "domain adaptation, from a labelled source to an unlabelled target: AdaBN, CORAL, DANN, CDAN, AdaMatch",
        callbacks={"baseline_comparison": "callbacks.predictions.baseline_comparison.BaselineComparison"},
        budget_on_default_data="max_epochs=40",
        usual=(
            "method",
            "backbone",
            "strength",
            "threshold",
            "mode",
            "lr",
        ),
        examples=(
            "",
            "--module.method dann",
            "--module.method none --data.source digits --data.target digits_m",
        ),
        next_step="predict --module adapt --ckpt_path {run}/checkpoints/best.ckpt",
    ),
    "som": Technique(
        "zoo.modules.som.SOMModule",
        "digits",
        "self-organising map: batch or online rule, rectangular or hexagonal, plane or torus",
        default_budget="max_epochs=20",
        callbacks={"som_map": "callbacks.by_technique.som.SOMMap"},
        usual=(
            "rows",
            "columns",
            "topology",
            "torus",
            "rule",
            "sigma",
        ),
        examples=(
            "",
            "--module.topology hexagonal --module.rows 8 --module.columns 8",
            "--data vectors --data.source wine --module.rows 6 --module.columns 6",
        ),
    ),
    "skipgram": Technique(
        "zoo.modules.skipgram.SkipGramModule",
        "corpus",
        "word vectors from text: skip-gram, CBOW, sub-words (word2vec, fastText)",
        callbacks={"word_vectors": "callbacks.by_technique.word_vectors.WordVectors"},
        usual=(
            "architecture",
            "dim",
            "window",
            "negatives",
            "ngrams",
            "lr",
        ),
        examples=(
            "",
            "--module.architecture cbow --module.window 8",
            "--module.ngrams [3,6] --module.dim 50",
        ),
        next_step="",
    ),
    "pca": Technique(
        "zoo.modules.pca.PCAModule",
        "digits",
        "principal components in one pass over the data, exact, with the Gaussian that goes with them",
        default_budget="max_epochs=1",
        callbacks={"principal_components": "callbacks.by_technique.pca.PrincipalComponents"},
        usual=(
            "n_components",
            "whiten",
            "method",
        ),
        examples=(
            "",
            "--module.n_components 0.95",
            "--data vectors --data.source wine --module.whiten true",
        ),
    ),
}

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
DATA = {
    "digits": Source(
        "datamodules.images.Digits", "max_epochs=150", "1,797 scans of handwritten digits, 8 x 8; no download"
    ),
    "mnist": Source("datamodules.images.MNIST", "max_epochs=10", "70,000 handwritten digits, 28 x 28"),
    "fashion_mnist": Source("datamodules.images.FashionMNIST", "max_epochs=10", "70,000 images of clothes, 28 x 28"),
    "cifar10": Source(
        "datamodules.images.CIFAR10", "max_epochs=20", "60,000 colour photographs in 10 classes, 32 x 32"
    ),
    "digits_m": Source(
        "datamodules.mnist_m.DigitsM", "max_epochs=150", "the digits blended with photographs, 3 x 8 x 8; no download"
    ),
    "mnist_m": Source("datamodules.mnist_m.MNISTM", "max_epochs=10", "MNIST blended with photographs, 3 x 28 x 28"),
    "domains": Source(
        "datamodules.domains.Domains",
        "max_epochs=50",
        "a labelled source and an unlabelled target: --data.source NAME or DIR --data.target NAME or DIR",
    ),
    "folder": Source(
        "datamodules.folder.Folder",
        "",
        "any folder of images: --data.root DIR",
        path_option="root",
        endings=_IMAGES,
        folders=True,
    ),
    "noise": Source(
        "datamodules.noise.Noise", "max_epochs=2", "eleven kinds of noise, 100 x 100 in colour: --data.kind NAME"
    ),
    "vectors": Source(
        "datamodules.tabular.Vectors",
        "",
        "numerical tables: --data.source FILE (.csv, .parquet, .npy), or iris, wine, breast_cancer",
        path_option="source",
        endings=(".csv", ".tsv", ".parquet", ".npy", ".npz"),
    ),
    "corpus": Source(
        "datamodules.corpus.Corpus",
        "max_epochs=20",
        "any text: --data.path FILE or folder; 300 news stories come with gensim",
        path_option="path",
        endings=(".txt", ".text", ".md", ".rst"),
        folders=True,
    ),
}

# Values that the module takes from the data, where they have them and it has such an argument.
DATA_TO_MODEL_ARGS = (
    "input_shape",
    "num_classes",
    "class_names",
    "task",
    "vocab_size",
    "vocabulary",
    "normalisation",
    "mirrored",
)

# Callbacks that every run gets, by the name of their options (--sample_grid.rows 2); each is idle with a module that
# lacks what it needs. Those of one technique alone are in its entry.
CALLBACKS = {
    "sample_grid": "callbacks.samples.grid.SampleGrid",
    "latent_map": "callbacks.features.latent_map.LatentMap",
    "training_animation": "callbacks.samples.animation.TrainingAnimation",
    "generation": "callbacks.samples.evaluation.Generation",
    "representation": "callbacks.features.evaluation.Representation",
    "reconstruction": "callbacks.features.reconstruction.Reconstruction",
    "classification": "callbacks.predictions.evaluation.Classification",
    "predictions": "callbacks.predictions.writer.Predictions",
    "length": "callbacks.run.length.TrainingLength",
    "report": "callbacks.run.report.RunReport",
}
# Old names, for one release: groups of options, and classes that a YAML file may name.
RENAMED_GROUPS = {"training_film": "training_animation"}
RENAMED_CLASSES = {
    "callbacks.sample_grid.SampleGrid": "callbacks.samples.grid.SampleGrid",
    "callbacks.training_film.TrainingFilm": "callbacks.samples.animation.TrainingAnimation",
    "callbacks.generation.Generation": "callbacks.samples.evaluation.Generation",
    "callbacks.latent_map.LatentMap": "callbacks.features.latent_map.LatentMap",
    "callbacks.representation.Representation": "callbacks.features.evaluation.Representation",
    "callbacks.classification.Classification": "callbacks.predictions.evaluation.Classification",
    "callbacks.predictions.Predictions": "callbacks.predictions.writer.Predictions",
    "callbacks.principal_components.PrincipalComponents": "callbacks.by_technique.pca.PrincipalComponents",
    "callbacks.som_map.SOMMap": "callbacks.by_technique.som.SOMMap",
    "callbacks.word_vectors.WordVectors": "callbacks.by_technique.word_vectors.WordVectors",
    "callbacks.run_report.RunReport": "callbacks.run.report.RunReport",
}
FORMATS = ("encoder", "onnx", "state")  # of the command ``export``
CHECKPOINT = "callbacks.run.best_checkpoint.BestCheckpoint"  # whose options are --checkpoint.monitor and so on
FAILURE = "callbacks.run.report.record_failure"  # of a run that failed before it began
REPORT = "callbacks.run.comparison.report"  # of runs, for the command ``report``
COMPARED = "callbacks.run.compared.write_page"  # of techniques, for the command ``compare``


def callback_groups(technique: Technique | None) -> dict[str, str]:
    """The callbacks of a run, by the name of their options: the general ones, and those of the technique.

    ``report`` comes last, since it shows what the others made.
    """
    own = technique.callbacks if technique else NONE
    return {
        **{name: path for name, path in CALLBACKS.items() if name != "report"},
        **own,
        "report": CALLBACKS["report"],
    }


def short_name(path: str, table: dict[str, Technique] | dict[str, Source]) -> str:
    """The name under which ``table`` has this import path, or else the class's own name in lower case."""
    known = {entry.path: name for name, entry in table.items()}
    return known.get(path) or path.rpartition(".")[2].removesuffix("Module").lower()
