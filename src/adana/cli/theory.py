"""``adana theory``: the bench of problems in which everything can be computed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import tyro
from rich.console import Console
from rich.table import Table

from adana.cli import UsageError
from adana.cli.setting import parse, pick_device

if TYPE_CHECKING:
    from adana.theory.comparison import Comparison

DESCRIPTION = (
    "Power-law random features and their relatives: simulate the package's own rules on many configurations at once, "
    "and put what theory predicts beside it. Every subcommand prints a table, or JSON with --json."
)


@dataclass(frozen=True)
class Output:
    """What to print and write."""

    json: bool = False
    """Print the result as JSON on standard output instead of a table."""
    plot: Path | None = None
    """Also write a figure to this file (.svg, .png or .pdf)."""


@dataclass(frozen=True)
class Problem(Output):
    """The drawn problem and its stream."""

    rho: float = 1.0
    """Data exponent; eigenvalues fall as j^(-2 rho)."""
    eta: float = 0.3
    """Target exponent."""
    v: int = 400
    """Hidden dimension."""
    d: int = 100
    """Model size."""
    batch: int = 1
    """Samples a step."""
    steps: int = 3000
    """Updates, and the horizon of the schedules."""
    runs: int = 30
    """Independent streams whose mean is shown."""
    seed: int = 0
    """Of the problem and the streams."""
    lr: float | None = None
    """Learning rate of the linear methods; default a quarter of SGD's critical one."""
    rule_lr: float = 1e-3
    """Learning rate of the rules that divide by a second moment."""
    kappa: float = 0.6
    """Of the rules that have one."""
    damping_scale: float = 0.2
    """DANA's coefficient c."""
    optimizers: tuple[str, ...] = ("sgd", "sgd-m", "dana", "adana")
    """Any of sgd, sgd-m, dana, adamw, nadamw, ademamix, log-adamw, log-nadamw, adana, dana-mk4, dana-star,
    dana-star-mk4. The first three have an exact mean."""
    device: str | None = None
    """Torch device; default NumPy on the CPU."""

    def family(self, base: Any) -> list[Any]:
        from adana.theory.simulate import Configuration
        from adana.theory.volterra import critical_lr

        linear = self.lr if self.lr is not None else 0.25 * critical_lr(base.eigenvalues, self.batch)
        made = []
        for name in self.optimizers:
            if name in ("sgd", "sgd-m", "dana"):
                lr = linear if name == "sgd" else linear / 2
                made.append(
                    Configuration(
                        name, lr, kappa=self.kappa, damping_scale=self.damping_scale, momentum=0.5, label=name
                    )
                )
            else:
                made.append(Configuration(name, self.rule_lr, kappa=self.kappa, label=name))
        return made

    def base(self) -> Any:
        from adana.theory.plrf import Plrf

        return Plrf(self.rho, self.eta, self.v, self.d, self.seed)


@dataclass(frozen=True)
class PlrfCommand(Problem):
    """Simulated risk on PLRF beside its exact mean."""

    def compute(self) -> Comparison:
        from adana.theory.recursion import compare
        from adana.theory.volterra import critical_lr, limit_risk

        base = self.base()
        family = self.family(base)
        found = compare(
            base,
            family,
            total_steps=self.steps,
            batch=self.batch,
            runs=self.runs,
            seed=self.seed,
            device=_device(self.device),
        )
        critical = critical_lr(base.eigenvalues, self.batch)
        found.numbers["critical_lr"] = critical
        if "sgd" in self.optimizers:
            lr = family[list(self.optimizers).index("sgd")].lr
            found.numbers["sgd_limit_risk"] = limit_risk(lr, base.eigenvalues, base.p_infinity, self.batch)
        return found


@dataclass(frozen=True)
class MixtureCommand(Problem):
    """Simulated risk on the mixture of experts (Zipf routing) beside its exact mean."""

    experts: int = 8
    """How many."""
    zeta: float = 1.0
    """Zipf exponent of the routing."""

    def compute(self) -> Comparison:
        from adana.theory.mixture import MoePlrf
        from adana.theory.recursion import compare

        base = self.base()
        return compare(
            MoePlrf(base, self.experts, self.zeta),
            self.family(base),
            total_steps=self.steps,
            batch=self.batch,
            runs=self.runs,
            seed=self.seed,
            device=_device(self.device),
        )


@dataclass(frozen=True)
class EquivalentCommand(Output):
    """Forcing, kernel and least risk of drawn problems beside the deterministic equivalent."""

    rho: float = 0.7
    """Data exponent."""
    eta: float = 0.3
    """Target exponent."""
    v: int = 512
    """Hidden dimension."""
    d: int = 128
    """Model size."""
    draws: int = 6
    """How many W."""
    lr: float = 0.5
    """Learning rate."""
    batch: int = 1
    """Samples a step."""

    def compute(self) -> Comparison:
        from adana.theory.equivalent import compare

        return compare(self.rho, self.eta, self.v, self.d, lr=self.lr, batch=self.batch, draws=self.draws)


@dataclass(frozen=True)
class PhasesCommand(Output):
    """Phase and compute-optimal exponents at (rho, eta), beside the exact frontier of SGD."""

    rho: float = 1.2
    """Data exponent."""
    eta: float = 0.7
    """Target exponent."""
    draws: int = 4
    """W a model size."""
    diagram: bool = False
    """Let --plot draw the phase diagram instead of the frontier."""

    def compute(self) -> Comparison:
        from adana.theory.phases import frontier

        return frontier(self.rho, self.eta, draws=self.draws)


@dataclass(frozen=True)
class DanaCommand(Output):
    """Exact risk of DANA over kappa on the population spectrum, and the predicted slopes."""

    rho: float = 1.0
    """Data exponent."""
    eta: float = 0.3
    """Target exponent."""
    kappas: tuple[float, ...] = (0.2, 0.35, 0.5, 0.6, 0.75, 1.0)
    """Swept."""
    lr: float = 0.3
    """Learning rate."""
    damping_scale: float = 0.25
    """The coefficient c of alpha(t)."""
    steps: int = 12000
    """Updates."""
    modes: int = 3000
    """Eigenvalues."""

    def compute(self) -> Comparison:
        from adana.theory.dana import kappa_curves

        return kappa_curves(
            self.rho,
            self.eta,
            kappas=self.kappas,
            lr=self.lr,
            damping_scale=self.damping_scale,
            total_steps=self.steps,
            count=self.modes,
        ).comparison()


@dataclass(frozen=True)
class SignSgdCommand(Output):
    """signSGD beside its high-dimensional limit, for several kinds of label noise."""

    d: int = 200
    """Dimension."""
    exponent: float = 0.5
    """Of the covariance's eigenvalues; 0 is isotropic."""
    rotate: bool = False
    """Give the covariance a random basis."""
    lr: float = 0.4
    """eta; a step moves each coordinate by eta/d."""
    noise: tuple[str, ...] = ("none", "gaussian", "rademacher", "student", "cauchy")
    """Kinds of label noise."""
    noise_scale: float = 0.5
    """Their scale."""
    time: float = 8.0
    """Steps divided by d."""
    seeds: int = 8
    """Runs."""

    def compute(self) -> Comparison:
        import numpy as np

        from adana.theory import checks, signsgd
        from adana.theory.noise import Noise

        k = signsgd.power_law_covariance(self.d, self.exponent, rotate=self.rotate)
        start = np.random.default_rng(0).standard_normal(self.d)
        noises = [Noise(kind, self.noise_scale) for kind in self.noise]
        steps = round(checks.positive("time", self.time) * self.d)
        return signsgd.compare(k, start / np.sqrt(start @ k @ start), self.lr, noises, steps, seeds=self.seeds)


@dataclass(frozen=True)
class ClippingCommand(Output):
    """Clipped SGD beside its limit, and how much clipping could help."""

    d: int = 300
    """Dimension; eigenvalues fall as j^-.4."""
    lr: float = 0.5
    """Learning rate times d."""
    thresholds: tuple[float, ...] = (0.3, 1.0, 3.0)
    """Clips in units of sqrt(tr K)."""
    noise: tuple[str, ...] = ("gaussian", "student", "cauchy")
    """Kinds of label noise."""
    noise_scale: float = 0.5
    """Their scale."""
    freedom: float = 2.5
    """Degrees of freedom of student."""
    time: float = 6.0
    """Steps divided by d."""
    seeds: int = 6
    """Runs."""

    def compute(self) -> Comparison:
        import numpy as np

        from adana.theory import checks, clipping
        from adana.theory.noise import Noise

        d = checks.integer("d", self.d)
        lam = np.arange(1, d + 1.0) ** -0.4
        modes = np.random.default_rng(0).standard_normal(d) ** 2
        settings = [
            clipping.ClippedRun(Noise(kind, self.noise_scale, self.freedom), c)
            for kind in self.noise
            for c in self.thresholds
        ]
        steps = round(checks.positive("time", self.time) * d)
        return clipping.compare(lam, modes / (lam @ modes), self.lr / d, settings, steps, seeds=self.seeds)


@dataclass(frozen=True)
class HighLineCommand(Output):
    """AdaGrad-Norm, line search and Polyak's rate beside their differential equations."""

    d: int = 400
    """Dimension; eigenvalues uniform on (.3, 2)."""
    noise: float = 0.0
    """Standard deviation of the label noise."""
    eta: float = 1.0
    """AdaGrad-Norm's scale."""
    offset: float = 1.0
    """AdaGrad-Norm's b."""
    time: float = 10.0
    """Steps divided by d."""
    seeds: int = 3
    """Runs."""

    def compute(self) -> Comparison:
        import numpy as np

        from adana.theory import checks, highline
        from adana.theory.highline import Rate

        d = checks.integer("d", self.d)
        lam = np.random.default_rng(1).uniform(0.3, 2, d)
        modes = np.random.default_rng(2).standard_normal(d) ** 2
        rates = [
            Rate("constant", 0.5),
            Rate("adagrad-norm", self.eta, self.offset),
            Rate("line-search"),
            Rate("polyak"),
        ]
        times = np.linspace(0, checks.positive("time", self.time), 41)
        found = highline.compare(lam, modes, rates, times, noise=self.noise, seeds=self.seeds)
        if self.noise == 0:
            limit = highline.adagrad_limit(self.eta, self.offset, float(lam.mean()), float(modes.mean()))
            found.numbers["adagrad_norm_limit"] = limit
        return found


@dataclass(frozen=True)
class SignSvdCommand(Output):
    """SignSVD (Muon's limit) against signSGD, beside their recursions, and a numerical phase map."""

    outputs: int = 200
    """Rows m of the weight matrix."""
    inputs: int = 400
    """Columns n."""
    batch: int = 20
    """Samples a step; at most n without noise."""
    exponent: float = 0.35
    """Of the covariance's eigenvalues."""
    noise: float = 0.0
    """Standard deviation of the label noise."""
    lr: float = 0.2
    """SignSVD's, in units of 1/sqrt(B tr K); signSGD's is sqrt(m) smaller."""
    steps: int = 100
    """Updates."""
    map: bool = False
    """Also compute the phase map over data and target exponents; --plot then draws it."""

    def compute(self) -> Comparison:
        import numpy as np

        from adana.theory import checks, spectral

        lam = np.arange(1, checks.integer("inputs", self.inputs) + 1.0) ** -checks.at_least(
            "exponent", self.exponent, 0
        )
        modes = np.full(lam.size, 1 / lam.sum())
        problem = spectral.MatrixProblem(lam, modes, self.outputs, self.batch, self.noise)
        lr = checks.positive("lr", self.lr) / np.sqrt(self.batch * lam.sum())
        found = spectral.compare(problem, {"signsvd": lr, "signsgd": lr / np.sqrt(self.outputs)}, self.steps)
        if self.map:
            found.numbers["phase_map"] = spectral.phase_map()
        return found


@dataclass(frozen=True)
class MonomialCommand(Output):
    """Spectrum of monomial random features beside its limit."""

    alpha: float = 2.0
    """Data exponent, above 1."""
    degree: int = 2
    """p of f(y) = y^p."""
    d: int = 1000
    """Features."""
    v: int = 2000
    """Data dimension."""

    def compute(self) -> Comparison:
        from adana.theory.monomial import compare

        return compare(self.alpha, self.degree, d=self.d, v=self.v)


@dataclass(frozen=True)
class NtkCommand(Output):
    """Spectrum of a two-layer network's neural tangent kernel beside the free convolution."""

    n: int = 1500
    """Samples."""
    d: int = 48
    """Inputs."""
    p: int = 24
    """Hidden units."""
    spread: tuple[float, float] | None = None
    """Second layer uniform on this interval; default all ones."""

    def compute(self) -> Comparison:
        from adana.theory.ntk import compare

        return compare(n=self.n, d=self.d, p=self.p, spread=self.spread)


@dataclass(frozen=True)
class SparseCommand(Output):
    """Moves between sparse gradients beside the growth the theorems allow."""

    probabilities: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01)
    """Of a nonzero gradient."""
    schedules: tuple[str, ...] = ("constant", "log-time", "fast beta2")
    """Of constant, log-time, "fast beta2", "constant beta2"."""
    count: int = 5
    """Gaps between gradients that are looked at."""
    seeds: int = 400
    """Independent parameters."""

    def compute(self) -> Comparison:
        from adana.theory.sparse import compare

        return compare(self.probabilities, names=self.schedules, count=self.count, seeds=self.seeds)


@dataclass(frozen=True)
class NesterovCommand(Output):
    """Nesterov's method in its forms on one noisy quadratic, and how far each is from the first."""

    d: int = 20
    """Dimension."""
    steps: int = 400
    """Updates."""
    lr: float = 0.05
    """Learning rate."""
    damping: float | None = 0.6
    """alpha_t = (1 + t)^-damping; None for Nesterov's own."""

    def compute(self) -> Comparison:
        from adana.theory.nesterov import compare

        return compare(d=self.d, total_steps=self.steps, lr=self.lr, damping=self.damping)


@dataclass(frozen=True)
class SweepCommand(Output):
    """Rules on PLRF or its mixture, each at its best learning rate, over kappa: the bench's Figures 8 and 9."""

    setting: str = "figure-8-left"
    """figure-8-left, figure-8-centre or figure-9."""
    seed: int = 1
    """Of the first problem and stream; the others follow it."""
    seeds: int = 1
    """Problems that are searched."""
    held_out: int = 0
    """Further problems, on which each rule runs once, at the option and rate that were best on the searched ones."""
    lrs: tuple[float, ...] = ()
    """Learning rates of every rule; default the setting's."""
    extend: int | None = None
    """How many rates may be added at either end while some best rate lies there; default the setting's, or 0 where
    --lrs is given."""
    paper_scale: bool = False
    """The published sizes (on a GPU: hours)."""
    steps: int | None = None
    """Another horizon than the setting's."""
    device: str | None = None
    """Torch device; default NumPy on the CPU."""


@dataclass(frozen=True)
class DanaMapCommand(Output):
    """Best kappa of DANA's exact mean risk against 1/(2 rho), over exponent, learning rate, coefficient, horizon."""

    rhos: tuple[float, ...] = (0.75, 1.0, 1.25, 1.5)
    """Data exponents, above 1/2."""
    lrs: tuple[float, ...] = (0.1, 0.3)
    """Learning rates."""
    damping_scales: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5)
    """DANA's coefficients c."""
    horizons: tuple[int, ...] = (3000, 12000, 30000, 100000)
    """Steps; one run serves all."""
    kappas: tuple[float, ...] = tuple(k / 40 for k in range(8, 49))
    """Swept."""
    eta: float = 0.3
    """Target exponent."""
    modes: int = 1000000
    """Eigenvalues."""


@dataclass(frozen=True)
class KappaMapCommand(Output):
    """Best kappa of a rule on PLRF, simulated against 1/(2 rho), over exponent, batch, horizon and learning rate."""

    rhos: tuple[float, ...] = (0.6, 0.75, 1.0, 1.25, 1.5)
    """Data exponents."""
    batches: tuple[int, ...] = (1, 8)
    """Samples a step."""
    horizons: tuple[int, ...] = (2500, 5000, 10000, 20000)
    """Steps; one run serves all."""
    lrs: tuple[float, ...] = (1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3)
    """Learning rates."""
    kappas: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
    """Swept."""
    eta: float = 0.3
    """Target exponent."""
    v: int = 800
    """Hidden dimension."""
    d: int = 200
    """Model size."""
    seeds: int = 2
    """Problems and streams."""
    optimizer: str = "adana"
    """A rule with a kappa."""
    device: str | None = None
    """Torch device; default NumPy on the CPU."""


@dataclass(frozen=True)
class FiguresCommand:
    """Write the bench's figures, each with its caption and numbers."""

    out: Path = Path("runs/theory")
    """Folder."""
    only: tuple[str, ...] = ()
    """Names; default all."""
    paper_scale: bool = False
    """The sweeps at the published sizes (on a GPU: hours)."""
    device: str | None = None
    """Torch device; default NumPy on the CPU."""
    seed: int = 1
    """Of problems and streams."""
    format: str = "svg"
    """svg, png or pdf."""
    json: bool = False
    """Print files, captions and numbers as JSON on standard output."""


COMMANDS: dict[str, Any] = {
    "plrf": PlrfCommand,
    "equivalent": EquivalentCommand,
    "phases": PhasesCommand,
    "dana": DanaCommand,
    "mixture": MixtureCommand,
    "signsgd": SignSgdCommand,
    "clipping": ClippingCommand,
    "high-line": HighLineCommand,
    "sign-svd": SignSvdCommand,
    "monomial": MonomialCommand,
    "ntk": NtkCommand,
    "sparse": SparseCommand,
    "nesterov": NesterovCommand,
    "sweep": SweepCommand,
    "kappa-map": KappaMapCommand,
    "dana-map": DanaMapCommand,
    "figures": FiguresCommand,
}


def run(argv: Sequence[str]) -> int:
    choices = tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in COMMANDS.items())
    any_of_them: Any = Union[choices]  # noqa: UP007 - the choices are known only here
    options: Any = parse(any_of_them, "theory", DESCRIPTION, argv)
    console = Console(stderr=options.json, highlight=False)
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise UsageError("the theory bench needs SciPy and Matplotlib: pip install 'adana[theory]'") from None
    plot = getattr(options, "plot", None)
    if plot is not None and plot.suffix not in (".svg", ".png", ".pdf"):
        raise UsageError(f"--plot must end in .svg, .png or .pdf, got {plot}")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise UsageError(f"--plot: the folder {plot.absolute().parent} does not exist")
    try:
        if isinstance(options, FiguresCommand):
            return _figures(options, console)
        if isinstance(options, SweepCommand):
            return _sweep(options, console)
        if isinstance(options, DanaMapCommand):
            return _dana_map(options, console)
        if isinstance(options, KappaMapCommand):
            return _kappa_map(options, console)
        result: Comparison = options.compute()
    except ValueError as error:
        raise UsageError(str(error)) from None
    _show(result, options, console)
    return 0


def _device(asked: str | None) -> str | None:
    return None if asked is None else pick_device(asked)


def _print_json(document: Any) -> None:
    from adana.theory.comparison import compact

    print(compact(document))


def _save(figure: Any, path: Path | None, console: Console, caption: str = "") -> None:
    if path is not None:
        from adana.theory import plots

        plots.save(figure, path, caption)
        console.print(f"figure: {path}")


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.4g}"


def _show(result: Comparison, options: Any, console: Console) -> None:
    if options.plot is not None:
        from adana.theory import plots

        if getattr(options, "diagram", False):
            figure = plots.phase_diagram()
        elif "phase_map" in result.numbers:
            figure = plots.phase_map(result.numbers["phase_map"])
        else:
            figure = plots.comparison(result)
        _save(figure, options.plot, console)
    if options.json:
        _print_json(result.document())
        return
    table = Table(title=result.title, title_justify="left", box=None, header_style="dim")
    for column in ("", "first", "last", "predicted last", "max deviation", "in standard errors", "diverged at"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=not column)
    for curve in result.curves:
        deviation = None if result.laws else curve.max_relative
        table.add_row(
            curve.label,
            _number(float(curve.simulated[0])),
            _number(float(curve.simulated[-1])),
            _number(None if curve.predicted is None else float(curve.predicted[-1])),
            "" if deviation is None else f"{100 * deviation:.2g} %",
            _number(curve.max_z),
            "" if curve.diverged_at is None else str(curve.diverged_at),
        )
    console.print(table)
    for name, value in result.numbers.items():
        if is_dataclass(value):
            _show_phase_map(value, console)
        elif isinstance(value, dict):
            if len(value) <= 12 and all(isinstance(x, (int, float, type(None))) for x in value.values()):
                listed = ", ".join(f"{key}: {_number(x) or 'none'}" for key, x in value.items())
                console.print(f"{name.replace('_', ' ')}: {listed}")
        elif not isinstance(value, list):
            shown = _number(value) if isinstance(value, (int, float)) else value
            console.print(f"{name.replace('_', ' ')}: {shown}")
    for note in result.notes:
        console.print(note, style="dim")


def _show_phase_map(mapped: Any, console: Console) -> None:
    table = Table(title="ahead at every horizon", title_justify="left", box=None, header_style="dim")
    table.add_column("alpha \\ beta", justify="right")
    for beta in mapped.betas:
        table.add_column(f"{beta:g}")
    for alpha, row in zip(mapped.alphas, mapped.verdict()):
        table.add_row(f"{alpha:g}", *row)
    console.print(table)


def _sweep(options: SweepCommand, console: Console) -> int:
    from dataclasses import replace

    from adana.theory.ranking import rank
    from adana.theory.sweeps import SWEEPS, paper_scale, search

    large = paper_scale(options.setting)
    setting = large if options.paper_scale else SWEEPS[options.setting]
    if options.steps is not None:
        setting = replace(setting, total_steps=options.steps)
    if options.lrs:
        setting = replace(setting, lrs=options.lrs, extend=0)
    if options.extend is not None:
        setting = replace(setting, extend=options.extend)
    seeds = range(options.seed, options.seed + options.seeds)
    device = _device(options.device)
    notes = Console(stderr=True, highlight=False)
    sweeps = search(setting, seeds=seeds, device=device, progress=lambda line: notes.print(line, style="dim"))
    held_out = range(seeds.stop, seeds.stop + options.held_out)
    ranking = rank(sweeps, held_out_seeds=held_out, device=device)
    if options.json:
        document = {
            "setting": {"name": options.setting, **asdict(sweeps[0].setting)},
            "predicted_kappa": sweeps[0].predicted,
            "ranking": ranking.document(),
            "sweeps": [sweep.document() for sweep in sweeps],
        }
        _print_json(document)
        return 0
    for one in ranking.rules:
        console.print(one)
    return 0


def _dana_map(options: DanaMapCommand, console: Console) -> int:
    from adana.theory.dana_map import dana_map

    notes = Console(stderr=True, highlight=False)
    result = dana_map(
        rhos=options.rhos,
        lrs=options.lrs,
        damping_scales=options.damping_scales,
        horizons=options.horizons,
        kappas=options.kappas,
        eta=options.eta,
        modes=options.modes,
        progress=lambda line: notes.print(line, style="dim"),
    )
    if options.json:
        _print_json(asdict(result))
        return 0
    for point in result.points:
        console.print(point)
    return 0


def _kappa_map(options: KappaMapCommand, console: Console) -> int:
    from adana.theory.kappa_map import kappa_map

    result = kappa_map(
        rhos=options.rhos,
        batches=options.batches,
        horizons=options.horizons,
        lrs=options.lrs,
        kappas=options.kappas,
        eta=options.eta,
        v=options.v,
        d=options.d,
        seeds=options.seeds,
        optimizer=options.optimizer,
        device=_device(options.device),
    )
    if options.plot is not None:
        from adana.theory import plots

        _save(plots.kappa_map(result), options.plot, console)
    if options.json:
        _print_json(asdict(result))
        return 0
    table = Table(title=f"best kappa of {options.optimizer} on PLRF", title_justify="left", box=None)
    for column in ("rho", "batch", "steps", "lr", "1/(2 rho)", "simulated", "spread", "risk/least"):
        table.add_column(column, justify="right")
    for point in result.points:
        table.add_row(
            f"{point.rho:g}",
            str(point.batch),
            str(point.horizon),
            f"{point.lr:g}",
            "none" if point.predicted is None else f"{point.predicted:.3g}",
            f"{point.best:.2f}" + (" (edge)" if point.at_edge else ""),
            f"{point.spread:.2f}",
            f"{point.risk:.3g}",
        )
    console.print(table)
    return 0


def _figures(options: FiguresCommand, console: Console) -> int:
    from adana.theory.figures import make_figures

    made = make_figures(
        options.out,
        only=options.only,
        large=options.paper_scale,
        device=_device(options.device),
        seed=options.seed,
        suffix=f".{options.format}",
        progress=console.print,
    )
    if options.json:
        _print_json(made)
    return 0
