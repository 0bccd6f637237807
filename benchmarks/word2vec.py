"""Word vectors by this project and by gensim, taking turns, on any text with spaces between words.

    python benchmarks/word2vec.py --corpus wiki8.gz [--men EN-MEN-TR-3k.txt] [--window 5] [--cbow] [--gensim-epochs 1]

Both have 100 dimensions, 5 negative samples, min_count 5, sample 1e-4, 5 epochs, and the same threads; gensim reads
the text from a plain file (``corpus_file``, its fastest way) with as many workers as threads, and twice as many. Speed
is words of the text times epochs by seconds of training, without the vocabulary, whose seconds stand beside it. Scores
are gensim's: WordSim-353 and SimLex-999 (Spearman), MEN where its file is given, and the share of right analogies.
"""

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EPOCHS, SAMPLE = 5, 1e-4
LINE = 10_000  # words: gensim cuts longer sentences there


def scores(keyed: Any, men: str | None) -> list[float]:
    """Scores on WordSim, SimLex, MEN (if given) and analogies."""
    from gensim.test.utils import datapath

    logging.disable(logging.ERROR)
    files = [(datapath("wordsim353.tsv"), "\t"), (datapath("simlex999.txt"), "\t"), *([(men, "\t")] if men else [])]
    found = [keyed.evaluate_word_pairs(file, delimiter=mark)[1].statistic for file, mark in files]
    return [*map(float, found), float(keyed.evaluate_word_analogies(datapath("questions-words.txt"))[0])]


def gensim(plain: str, options: argparse.Namespace, workers: int) -> tuple[float, float, Any]:
    """Seconds for the vocabulary, seconds of training, vectors."""
    from gensim.models import Word2Vec

    model = Word2Vec(
        vector_size=100,
        min_count=5 * options.repeat,
        window=options.window,
        sample=SAMPLE,
        sg=int(not options.cbow),
        workers=workers,
        seed=options.seed,
    )
    start = time.perf_counter()
    model.build_vocab(corpus_file=plain)
    middle = time.perf_counter()
    model.train(
        corpus_file=plain,
        total_words=model.corpus_total_words,
        total_examples=model.corpus_count,
        epochs=options.gensim_epochs,
    )
    return middle - start, time.perf_counter() - middle, model.wv


def ours(plain: str, options: argparse.Namespace) -> tuple[float, float, Any]:
    """The same."""
    import lightning.pytorch as pl
    import torch

    from datamodules.corpus import Corpus
    from zoo import SkipGramModule

    torch.set_num_threads(options.threads)
    pl.seed_everything(options.seed, verbose=False)

    class Stopwatch(pl.Callback):
        def on_train_start(self, *_: Any) -> None:
            self.begin = time.perf_counter()

        def on_train_end(self, *_: Any) -> None:
            self.seconds = time.perf_counter() - self.begin

    start = time.perf_counter()
    least = 5 * options.repeat  # the same words
    data = Corpus(
        plain,
        tokeniser="whitespace",
        min_count=least,
        subsample_threshold=SAMPLE,
        sentence_boundary="file",
        val_fraction=0,
    )
    vocabulary = data.vocabulary
    middle = time.perf_counter()
    kind = "cbow" if options.cbow else "skipgram"
    module = SkipGramModule(vocabulary, kind, window=options.window)
    watch = Stopwatch()
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        precision=options.precision,
        callbacks=[watch],
        enable_model_summary=False,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, data)
    return middle - start, watch.seconds, module.to_keyed_vectors()


def child(options: argparse.Namespace) -> None:
    """One run; prints its results."""
    import resource

    workers = int(options.child.partition("-")[2] or 0)
    vocabulary, seconds, keyed = gensim(options.plain, options, workers) if workers else ours(options.plain, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("numbers", vocabulary, seconds, peak, *scores(keyed, options.men))


def main() -> None:
    """Take turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--men")
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--cbow", action="store_true")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds, each with another seed")
    parser.add_argument(
        "--repeat", type=int, default=1, help="number of times the text is repeated, to see whether memory grows"
    )
    parser.add_argument("--alone", action="store_true", help="without gensim")
    parser.add_argument(
        "--gensim-epochs", type=int, default=EPOCHS, help="epochs of gensim; fewer compares after equal time"
    )
    for hidden in ("--child", "--plain"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    from timing import header

    from datamodules.text import read_pieces

    with tempfile.TemporaryDirectory() as folder:
        plain, words = Path(folder) / "plain.txt", 0
        with plain.open("w") as file:
            for piece in (piece for _ in range(options.repeat) for piece in read_pieces(Path(options.corpus))):
                found = piece.split()
                words += len(found)
                file.writelines(" ".join(found[i : i + LINE]) + "\n" for i in range(0, len(found), LINE))
        names = ["ours", *(f"gensim-{options.threads * n}" for n in (1, 2) if not options.alone)]
        results: dict[str, list[list[float]]] = {name: [] for name in names}
        for seed in range(1, options.rounds + 1):
            for name in names:
                results[name].append(run(name, str(plain), seed, options))
    print(header(), f"{words:,} words, {' '.join(sys.argv[1:])}")
    print(f"{'':10s} {'s':>6s} {'words/s':>10s} {'vocab s':>8s} {'MB':>6s}  scores, mean of {options.rounds} seeds")
    for name, rows in results.items():
        vocabulary, seconds, peak, *found = zip(*rows, strict=True)
        epochs, taken = EPOCHS if name == "ours" else options.gensim_epochs, statistics.median(seconds)
        means = " ".join(f"{statistics.mean(values):.3f}" for values in found)
        speed = f"{taken:6.1f} {epochs * words / taken:10,.0f}"
        print(f"{name:10s} {speed} {statistics.median(vocabulary):8.2f} {max(peak):6.0f}  {means}")


def run(name: str, plain: str, seed: int, options: argparse.Namespace) -> list[float]:
    """In a process of its own."""
    command = [sys.executable, __file__, "--corpus", options.corpus, "--child", name, "--plain", plain]
    command += ["--seed", str(seed), "--window", str(options.window), "--threads", str(options.threads)]
    command += ["--repeat", str(options.repeat)]
    command += ["--precision", options.precision, "--gensim-epochs", str(options.gensim_epochs)]
    command += ["--cbow"] * options.cbow + (["--men", options.men] if options.men else [])
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    line = next((line for line in done.stdout.splitlines() if line.startswith("numbers ")), None)
    if line is None:
        sys.exit(f"{name}: {done.stderr.strip()[-500:]}")
    print(f"{name} seed {seed}: {line}", file=sys.stderr, flush=True)
    return [float(part) for part in line.split()[1:]]


if __name__ == "__main__":
    main()
