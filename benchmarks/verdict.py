"""How often is a verdict on pretraining wrong, and how often does its interval hold the true gain?

    python benchmarks/verdict.py --comparisons 20000
    python benchmarks/verdict.py --comparisons 3000 --labels

Runs are simulated that answer test samples from an endless population: a sample is hard or easy for all runs, a little
harder or easier for one technique than for another, and single answers of single seeds differ besides. Accuracies vary
between seeds, in the population, such that gains have a standard deviation of 1.2 points. The true gain is known, and
is what intervals must hold. By default 13 % of the pairs of answers differ, of an accuracy of 80 %.

Six techniques are compared with the same runs without pretraining. "Alone" is the first of them by itself. Gains are
-2 to 2 points beyond the one worth having, 1 point; of each rate the table has the worst. "3..12" looks after 3, 5, 8
and 12 seeds and stops at a verdict. Beside the interval are two others that it is not: Student's of the gains by seed,
and that of the sum of both variances with Satterthwaite's degrees of freedom.

``--labels`` measures instead the worth in labels, of a curve without pretraining at 10, 20, 40 and 80 labels that rises
by 10 points from one to the next: intervals from single answers, and from accuracies by seed.
"""

import argparse
import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from scipy.special import stdtr
from timing import header
from torch import Generator, Tensor

from zoo.functional.crossed import student_quantile
from zoo.functional.label_worth import label_worth
from zoo.functional.verdict import (
    CANNOT_TELL,
    DOES_NOT_PAY,
    PAYS,
    Estimate,
    as_good_as_best,
    estimate,
    family_verdicts,
    holm,
    looks,
    verdicts,
)

SEEDS, LOOKS, TECHNIQUES, WORTH, ALPHA = (3, 5, 10), looks(3, 12), 6, 1.0, 0.05
SEQUENTIAL = f"{LOOKS[0][0]}..{LOOKS[-1][0]}"
BEYOND = (-2.0, -1.0, 0.0, 1.0, 2.0)  # gains of a technique alone, less the one worth having
FAMILIES = {"none": [0.0] * 6, "all": [2.0] * 6, "half": [0.0] * 3 + [6.0] * 3}  # the same, of the six
AT_ONCE = 3_000_000  # answers of a technique held in memory
LISTED = 2000  # comparisons of which the list of the best is made, which takes K times as long
COLUMNS = (
    *("test samples", "seeds", "interval holds the gain, %", "seeds alone", "Satterthwaite", "false pays"),
    *("false does not pay", "any false pays of six", "any false does not pay of six", "any false pays, Satterthwaite"),
    *("best left out", "seen alone", "seen among six"),
)
LABEL_COLUMNS = ("test samples", "seeds", "interval holds the worth, %", "from accuracies", "beyond the curve")

Judge = Callable[[Estimate, float, float], Tensor]


def simulate(n: int, comparisons: int, options: argparse.Namespace, rng: Generator) -> Callable[[Tensor], Tensor]:
    """Draw runs without pretraining and with six techniques.

    Returns:
        Function from gains (K,) of the first K techniques, in points, to differences of answers, (C, K, S, n).
    """
    seeds, arms = LOOKS[-1][0], TECHNIQUES + 1
    shares = 1 - options.shared - options.by_technique, options.by_technique, options.shared
    latent = torch.randn(comparisons, arms, seeds, n, generator=rng).mul_(math.sqrt(shares[0]))
    latent += math.sqrt(shares[1]) * torch.randn(comparisons, arms, 1, n, generator=rng)
    latent += math.sqrt(shares[2]) * torch.randn(comparisons, 1, 1, n, generator=rng)
    level = torch.randn(comparisons, arms, seeds, 1, generator=rng, dtype=torch.float64)
    level = options.accuracy + options.between_seeds / 100 / math.sqrt(2) * level

    def right(arms: slice, gains: Tensor) -> Tensor:
        accuracy = level[:, arms] + gains[:, None, None] / 100
        threshold = torch.special.ndtri(accuracy.clamp(0, 1))  # of a standard normal: exact in the population
        return (latent[:, arms] < threshold.float()).to(torch.int8)

    without = right(slice(TECHNIQUES, None), torch.zeros(1))
    return lambda gains: right(slice(len(gains)), gains) - without


def decide(found: dict[int, Estimate], judge: Judge) -> Iterator[tuple[str, Tensor]]:
    """Verdicts after each number of seeds, and those of the run that looks several times."""
    for seeds in SEEDS:
        yield str(seeds), judge(found[seeds], WORTH, ALPHA)
    first = torch.zeros_like(judge(found[SEEDS[0]], WORTH, ALPHA))
    for seeds, alpha in LOOKS:
        first = torch.where(first == CANNOT_TELL, judge(found[seeds], WORTH, alpha), first)
    yield SEQUENTIAL, first


def estimates(difference: Tensor) -> dict[int, Estimate]:
    """Of the first seeds each."""
    numbers = {*SEEDS, *(seeds for seeds, _ in LOOKS)}
    return {seeds: estimate(difference[..., :seeds, :], ALPHA) for seeds in numbers}


def from_seeds_alone(found: Estimate) -> Tensor:
    """Half the width of Student's interval of the gains by seed."""
    seeds = found.spread.seeds
    return student_quantile(ALPHA, seeds - 1) * (found.spread.v_seeds / seeds).sqrt()


def satterthwaite(found: Estimate) -> tuple[Tensor, Tensor]:
    """Standard errors from the sum of both variances, and their degrees of freedom."""
    spread = found.spread
    of_seeds, of_samples = spread.v_seeds / spread.seeds, spread.v_samples / spread.samples
    total = of_seeds + of_samples + 1e-12
    return total.sqrt(), total**2 / (of_seeds**2 / (spread.seeds - 1) + of_samples**2 / (spread.samples - 1) + 1e-24)


def satterthwaite_pays(found: Estimate, worth: float, alpha: float) -> Tensor:
    """Which techniques of a family pay, by Holm's rule with Satterthwaite's degrees of freedom."""
    error, df = satterthwaite(found)
    return PAYS * (holm(torch.as_tensor(stdtr(df.numpy(), ((worth - found.gain) / error).numpy()))) < alpha / 2).int()


def count_alone(difference: Tensor, beyond: float, counts: Counter) -> None:
    """Add what intervals hold and what verdicts say of one technique by itself, (C, S, n)."""
    found = estimates(difference)
    for seeds in SEEDS:
        distance = (found[seeds].gain - WORTH - beyond).abs()
        counts[str(seeds), "holds", beyond] += int((distance <= found[seeds].high - found[seeds].gain).sum())
        counts[str(seeds), "seeds hold", beyond] += int((distance <= from_seeds_alone(found[seeds])).sum())
        error, df = satterthwaite(found[seeds])
        counts[str(seeds), "Satterthwaite holds", beyond] += int(
            (distance <= student_quantile(ALPHA, df) * error).sum()
        )
    for seeds, said in decide(found, verdicts):
        counts[seeds, "pays", beyond] += int((said == PAYS).sum())
        counts[seeds, "does not pay", beyond] += int((said == DOES_NOT_PAY).sum())


def count_families(difference: Tensor, name: str, counts: Counter) -> None:
    """Add how often any of the techniques that do not pay is said to, or the reverse, (C, K, S, n)."""
    null, found = torch.tensor(FAMILIES[name]) == 0, estimates(difference)
    for seeds, said in decide(found, family_verdicts):
        counts[seeds, "any pays", name] += int((said == PAYS)[:, null].any(-1).sum())
        counts[seeds, "any does not pay", name] += int((said == DOES_NOT_PAY)[:, null].any(-1).sum())
        counts[seeds, "seen", name] += float((said == PAYS).double().mean(-1).sum())
    for seeds, said in decide(found, satterthwaite_pays):
        counts[seeds, "Satterthwaite any pays", name] += int((said == PAYS)[:, null].any(-1).sum())


def measure(n: int, comparisons: int, options: argparse.Namespace) -> Counter:
    """Counts of all that is asked, for ``n`` test samples."""
    counts, rng = Counter(), Generator().manual_seed(options.seed)
    chunk = max(1, AT_ONCE // (n * LOOKS[-1][0]))
    for start in range(0, comparisons, chunk):
        differences = simulate(n, min(chunk, comparisons - start), options, rng)
        for beyond in BEYOND:
            count_alone(differences(torch.tensor([WORTH + beyond]))[:, 0], beyond, counts)
        for name, family in FAMILIES.items():
            count_families(differences(WORTH + torch.tensor(family)), name, counts)
        if start < LISTED:
            equal = differences(torch.ones(TECHNIQUES))
            counts["listed"] += len(equal)
            for seeds in SEEDS:
                counts[str(seeds), "left out"] += int((~as_good_as_best(equal[..., :seeds, :])[:, 0]).sum())
    return counts


def measure_verdicts(n: int, comparisons: int, options: argparse.Namespace) -> Iterator[str]:
    """Lines of the table for ``n`` test samples."""
    counts = measure(n, comparisons, options)
    for seeds in itertools.chain(map(str, SEEDS), [SEQUENTIAL]):
        yield row(n, seeds, comparisons, counts)


def row(n: int, seeds: str, comparisons: int, counts: Counter) -> str:
    """A line of the table; rates beyond their aim by three standard errors are marked."""

    def rates(kind: str, over: tuple) -> list[float]:
        return [100 * counts[seeds, kind, each] / comparisons for each in over]

    def at_most(rate: float, aim: float, of: int = comparisons) -> str:
        error = math.sqrt(aim * (100 - aim) / of)
        return f"{rate:.1f}" + (" (missed)" if rate > aim + 3 * error else "")

    one_look, listed = seeds != SEQUENTIAL, counts["listed"]
    holds = rates("holds", BEYOND)
    slack = [3 * math.sqrt(aim * (100 - aim) / comparisons) for aim in (94, 99)]
    missed = " (missed)" if min(holds) < 94 - slack[0] or max(holds) > 99 + slack[1] else ""
    cells = [f"{min(holds):.1f} to {max(holds):.1f}{missed}"]
    cells += [f"{min(rates(kind, BEYOND)):.1f}" for kind in ("seeds hold", "Satterthwaite holds")]
    cells = cells if one_look else [""] * 3
    cells += [at_most(max(rates("pays", BEYOND[:3])), 2.5), at_most(max(rates("does not pay", BEYOND[2:])), 2.5)]
    cells += [at_most(max(rates(kind, ("none", "half"))), 2.5) for kind in ("any pays", "any does not pay")]
    cells += [f"{max(rates('Satterthwaite any pays', ('none', 'half'))):.1f}"]
    cells += [at_most(100 * counts[seeds, "left out"] / listed, 5, listed) if one_look else ""]
    cells += [f"{rates('pays', BEYOND[-1:])[0]:.0f}", f"{rates('seen', ('all',))[0]:.0f}"]
    return f"| {n:,} | {seeds} | {' | '.join(cells)} |"


def measure_labels(n: int, comparisons: int, options: argparse.Namespace) -> Iterator[str]:
    """Lines of a table: how many intervals of the worth in labels hold the true one, for ``n`` test samples."""
    levels = options.accuracy - 0.3 + 0.1 * torch.tensor([0.0, 1.0, 2.0, 3.0, 1.6])  # the last is pretrained
    rng, truth = Generator().manual_seed(options.seed), 2**1.6
    for seeds in SEEDS:
        held, open_ends = [0, 0], 0
        for _ in range(comparisons):
            hard = math.sqrt(options.shared) * torch.randn(n, generator=rng)
            hard = hard + math.sqrt(options.by_technique) * torch.randn(1, 5, n, generator=rng)
            rest = math.sqrt(1 - options.shared - options.by_technique) * torch.randn(seeds, 5, n, generator=rng)
            level = levels + options.between_seeds / 100 / math.sqrt(2) * torch.randn(seeds, 5, generator=rng)
            right = (hard + rest < torch.special.ndtri(level)[..., None]).double()
            for place, scores in enumerate((right, right.mean(-1))):
                found = label_worth(scores[:, 4], 10, scores[:, :4], [10, 20, 40, 80])
                held[place] += found.low <= truth <= found.high
            open_ends += bool(found.above or found.below)
        cells = [f"{100 * count / comparisons:.1f}" for count in (*held, open_ends)]
        yield f"| {n:,} | {seeds} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=2000, help="of 10,000 test samples a tenth of them")
    parser.add_argument("--samples", type=int, nargs="*", default=[60, 1000, 10_000], help="test samples")
    parser.add_argument("--accuracy", type=float, default=0.8, help="mean accuracy without pretraining")
    parser.add_argument("--between-seeds", type=float, default=1.2, help="standard deviation of gains, in points")
    parser.add_argument(
        "--shared", type=float, default=0.83, help="share of the variance that is a sample's difficulty"
    )
    parser.add_argument("--by-technique", type=float, default=0.045, help="share that is a sample's with one technique")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", action="store_true", help="measure the worth in labels instead")
    options = parser.parse_args()
    print(header(), " ".join(sys.argv[1:]))
    columns = LABEL_COLUMNS if options.labels else COLUMNS
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    for n in options.samples:
        comparisons = options.comparisons if n < 10_000 else max(1, options.comparisons // 10)
        for line in (measure_labels if options.labels else measure_verdicts)(n, comparisons, options):
            print(line, flush=True)


if __name__ == "__main__":
    main()
