"""What the help of every command ends with: lines to type, and what each does."""

from __future__ import annotations

__all__ = ["EXAMPLES", "shown"]

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "race": (
        ("adana race", "AdamW, ADana and DanaMK4 on the source files of your Python"),
        ("adana race --optimizers all --seeds 5", "every tuned optimizer, with intervals over five seeds"),
        ("adana race --text my-notes.txt --steps 3000", "your own text, a longer run"),
        ("adana race --optimizers adamw-dw adana torch.optim:NAdam", "against any torch optimizer, searched first"),
    ),
    "train": (
        ("adana train small --lr 2e-3", "one run of the race's model: a minute"),
        ("adana train small --optimizer adamw-dw --lr 3e-3 --seed 1", "another optimizer, another seed"),
        (
            "adana train enoki --heads 6 --data data/fineweb-10bt --dry-run",
            "a run of the paper, only planned",
        ),
    ),
    "data": (
        ("adana data build", "the source files of your Python, as bytes"),
        ("adana data build --source text --files my-notes.txt --out data/notes", "a file of yours, bytes as tokens"),
        ("adana data inspect data/notes", "sizes, checksums and the first tokens"),
    ),
    "sweep": (
        ("adana sweep --optimizers adamw-dw adana", "the best learning rate of each on the race's model"),
        ("adana sweep --optimizers adana --kappa 0.7 0.85 1 --weight-decay 1 4", "a search for each combination"),
        ("adana sweep --heads 2 4 8 --workers 4", "three sizes, four runs at a time"),
    ),
    "ladder": (
        ("adana ladder", "small sizes searched, the next one planned, run and compared"),
        ("adana ladder --optimizers adamw-dw adana muon-dw --seeds 0 1 2", "three optimizers, three seeds"),
    ),
    "theory": (
        ("adana theory plrf --optimizers sgd dana --runs 8", "a simulation beside its exact mean"),
        ("adana theory sweep --setting figure-8-left --seeds 2 --held-out 4", "rules, each at its own learning rate"),
        ("adana theory figures", "every figure, with caption and numbers"),
    ),
    "fit": (
        ("adana fit runs/ladder --law lr", "the best learning rate over size, from run folders"),
        ("adana fit runs.csv --law loss --output loss.json", "loss over compute, kept for adana plan"),
        ("adana fit runs.csv --law multiplier --baseline adamw-dw", "how much compute each optimizer saves"),
    ),
    "report": (("adana report runs/ -o report.html", "one page of all finished runs below runs/"),),
    "plan": (
        ("adana plan --heads 12 --optimizer adana", "a run of the paper's size 12, by published laws"),
        ("adana plan --heads 12 --optimizer adana --law loss.json", "by a law of your own"),
    ),
    "inspect": (
        ("adana inspect hilberg my-notes.txt --plot notes.svg", "how slowly the text's code length falls"),
        ("adana inspect hilberg my-notes.txt --run runs/mine", "beside it, a run's loss by position in the context"),
        ("adana inspect optimizer runs/mine", "memory, clipping and tau of a run of adana train"),
        ("adana inspect noise runs/mine --plot noise.svg", "how noisy its gradients are, alpha~ at other batches"),
        ("adana inspect spectrum runs/mine --plot spectra.svg", "spectra of its activations and gradients"),
    ),
    "sample": (
        ("adana sample runs/mine --prompt 'def '", "200 tokens from a run of adana train"),
        ("adana sample runs/mine --temperature 0 --tokens 50", "the likeliest token each time"),
    ),
    "export": (
        ("adana export runs/mine --to transformers", "weights, config and tokenizer into runs/mine/transformers"),
        ("adana export runs/mine --out my-model", "into another folder"),
    ),
    "export-optimizer": (
        ("adana export-optimizer adana", "ADana as a file; add > adana_optimizer.py to keep it"),
        ("adana export-optimizer adamw-dw", "AdamW with log-time weight decay"),
    ),
    "completion": (
        ("adana completion bash", "add > ~/.local/share/bash-completion/completions/adana to keep it"),
        ("adana completion zsh", "add > ~/.zfunc/_adana to keep it, where ~/.zfunc is in your $fpath"),
    ),
    "doctor": (
        ("adana doctor", "versions, devices, fast paths, extras"),
        ("adana doctor my_package.models:make_model", "and the kind and decay of each of the model's parameters"),
    ),
}


def shown(command: str) -> str:
    """The examples of a command as its help shows them; empty where there are none."""
    lines = EXAMPLES.get(command, ())
    return "".join(["\nexamples:\n", *(f"  {line}\n      {what}\n" for line, what in lines)]) if lines else ""
