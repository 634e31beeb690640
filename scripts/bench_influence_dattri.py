"""Measures dattri's attributors on the experiments of Tributary's influence bench, beside Tributary's own methods.

Our program trains the models and writes the experiment as .npy files (attribution/src/influence/bench/files.rs names
them). Here dattri attributes the same tests to the same rows with the same weights; its scores are written into the same
folder, and our program measures them as it measures its own, so that there is one implementation of the score.

dattri's scores are inner products of two gradients of the loss, so that a positive one lowers the loss, as ours raises the
log-likelihood: the signs agree. (dattri's own LDS of them comes out negative, as it is given losses.) One thread, single
precision as dattri's examples have it.
"""

import argparse
import csv
import gzip
import hashlib
import importlib.resources
import json
import os
import pathlib
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import torch
from dattri import algorithm
from dattri.task import AttributionTask
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
torch.manual_seed(0)


def digits_table(cache):
    """The digits of scikit-learn's own wheel as a table that our program reads."""
    path = cache / "digits.csv"
    if not path.exists():
        source = importlib.resources.files("sklearn.datasets") / "data" / "digits.csv.gz"
        with gzip.open(source.open("rb"), "rt") as lines:
            rows = [[int(float(number)) for number in row] for row in csv.reader(lines)]
        with path.open("w") as out:
            out.writelines(",".join(map(str, row)) + "\n" for row in rows)
    return path


# A base model learns from the first half, two licences of the Free Software Foundation; documents are of the others.
LICENCES = ["GPL-3", "LGPL-2.1", "Apache-2.0", "MPL-2.0", "Artistic", "CC0-1.0", "GFDL-1.3"]
LICENCES_SHA256 = "cc95058466f52f07eb4572a62e18bb7033b3c978de9af058e359cb69aba0c52b"


def licences_text(cache):
    """The text of lora-lm, of files that Debian and what is made of it have; None where they are absent or others."""
    path, source = cache / "licences.txt", pathlib.Path("/usr/share/common-licenses")
    if not path.exists():
        if not all((source / name).is_file() for name in LICENCES):
            print(f"bench-influence: {source} lacks some of {', '.join(LICENCES)}; lora-lm is left out", file=sys.stderr)
            return None
        text = b"".join((source / name).read_bytes() for name in LICENCES)
        if hashlib.sha256(text).hexdigest() != LICENCES_SHA256:
            print(f"bench-influence: {source} has other texts than are pinned; lora-lm is left out", file=sys.stderr)
            return None
        path.write_bytes(text)
    return path


def ours(arguments, suite, data, folder, *more):
    """Runs our program and returns what it prints."""
    command = [*arguments.program, "--suite", suite, "--data", str(data), "--keep", str(folder), *more]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


class Perceptron(nn.Module):
    """The layers of a suite's network, whose weights are stored inputs first and with the bias last."""

    def __init__(self, widths, parameters):
        super().__init__()
        layers, start = [], 0
        for inputs, outputs in zip(widths, widths[1:]):
            size = (inputs + 1) * outputs
            block = parameters[start : start + size].reshape(inputs + 1, outputs)
            start += size
            layer = nn.Linear(inputs, outputs)
            with torch.no_grad():
                layer.weight.copy_(torch.tensor(block[:-1].T))
                layer.bias.copy_(torch.tensor(block[-1]))
            layers += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x):
        return self.layers(x)


class Characters(nn.Module):
    """The adapter of lora-lm beside its frozen base: the parameters are A and B of each layer alone."""

    def __init__(self, shape, base, parameters):
        super().__init__()
        vocabulary, context, width, hidden, rank = shape
        weights, trained = torch.tensor(base), torch.tensor(parameters)

        def frozen(name, *size):
            nonlocal weights
            count = int(np.prod(size))
            self.register_buffer(name, weights[:count].reshape(size), persistent=False)
            weights = weights[count:]

        def adapter(inputs, outputs):
            nonlocal trained
            layer = nn.Linear(inputs, outputs, bias=False)
            with torch.no_grad():
                layer.weight.copy_(trained[: inputs * outputs].reshape(inputs, outputs).T)
            trained = trained[inputs * outputs :]
            return layer

        frozen("embedding", vocabulary, width)
        sides = [(context * width, hidden), (hidden, hidden), (hidden, vocabulary)]
        self.a, self.b = nn.ModuleList(), nn.ModuleList()
        for number, (inputs, outputs) in enumerate(sides):
            frozen(f"weight{number}", inputs, outputs)
            frozen(f"bias{number}", outputs)
            self.a.append(adapter(inputs, rank))
            self.b.append(adapter(rank, outputs))

    def forward(self, x):
        hidden = nn.functional.embedding(x, self.embedding).flatten(-2)
        for number in range(3):
            if number:
                hidden = torch.relu(hidden)
            frozen = hidden @ getattr(self, f"weight{number}") + getattr(self, f"bias{number}")
            hidden = frozen + 2 * self.b[number](self.a[number](hidden))
        return hidden


def attributors(model, checkpoints, l2):
    """Name, maker, and how it is given the training data: with the tests, beforehand as well, or only beforehand."""

    def loss(parameters, data):
        x, y = data
        logits = torch.func.functional_call(model, parameters, x)
        return nn.functional.cross_entropy(logits.flatten(0, -2), y.flatten())

    def loss_of_one(parameters, data):
        x, y = data
        logits = torch.func.functional_call(model, parameters, x.unsqueeze(0))
        return nn.functional.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="sum")

    def margin(parameters, data):
        log_likelihood = -loss_of_one(parameters, data)
        return log_likelihood - torch.log(1 - torch.exp(log_likelihood))

    def likelihood(parameters, data):
        return torch.exp(-loss_of_one(parameters, data))

    def task(function, weights=None):
        return AttributionTask(loss_func=function, model=model, checkpoints=weights or checkpoints[0])

    def tracin(normalised):
        return lambda: algorithm.TracInAttributor(
            task=task(loss_of_one), weight_list=torch.ones(1), normalized_grad=normalised, device="cpu"
        )

    def trak(weights):
        return lambda: algorithm.TRAKAttributor(
            task=task(margin, weights),
            correct_probability_func=likelihood,
            device="cpu",
            regularization=1e-3,
            projector_kwargs={"proj_dim": 512},
        )

    yield "dattri-graddot", tracin(False), "pairs"
    yield "dattri-gradcos", tracin(True), "pairs"
    yield "dattri-datainf", lambda: algorithm.IFAttributorDataInf(task=task(loss), regularization=0.1), "cache"
    if sum(weight.numel() for weight in checkpoints[0].values()) < 2000:
        # It makes the whole Hessian by automatic differentiation.
        yield "dattri-explicit", lambda: algorithm.IFAttributorExplicit(task=task(loss), regularization=l2), "cache"
    yield "dattri-cg", lambda: algorithm.IFAttributorCG(task=task(loss), regularization=l2, max_iter=50), "cache"
    yield "dattri-trak-1", trak([checkpoints[0]]), "cache-tests"
    if len(checkpoints) > 1:
        yield f"dattri-trak-{len(checkpoints)}", trak(checkpoints), "cache-tests"
    # The last, as its hooks stay on the model when it fails.
    yield "dattri-ekfac", lambda: algorithm.IFAttributorEKFAC(task=task(loss), damping=l2), "cache"


def digits(folder):
    """Rows, tests, models and the regulariser of a suite on digits."""
    read = lambda name: np.load(folder / f"{name}.npy")
    part = lambda name: TensorDataset(
        torch.tensor(read(f"{name}_x"), dtype=torch.float32), torch.tensor(read(f"{name}_y"))
    )
    widths = [int(width) for width in read("widths")]
    models = [Perceptron(widths, weights.astype("float32")) for weights in read("parameters")]
    return part("train"), part("test"), models, 1e-3


def characters(folder):
    """The same of lora-lm; the regulariser is one mean eigenvalue of the Fisher rows, as ours is."""
    read = lambda name: np.load(folder / f"{name}.npy")
    shape, base = [int(size) for size in read("shape")], read("base").astype("float32")
    models = [Characters(shape, base, weights.astype("float32")) for weights in read("parameters")]

    def part(name):
        windows = torch.tensor(read(f"{name}_x")).unfold(1, shape[1] + 1, 1)
        return TensorDataset(windows[..., :-1].contiguous(), windows[..., -1].contiguous())

    # dattri's curvature is that of the mean over all positions, ours the sum over the documents' sums.
    rows = read("fisher_gradients").astype("float64")
    positions = read("train_x").shape[1] - shape[1]
    return part("train"), part("test"), models, float((rows**2).mean()) / positions


def run_dattri(folder, only):
    """Writes the scores of every attributor that runs; returns the seconds of each, or why it did not run."""
    train, tests, models, regulariser = characters(folder) if (folder / "base.npy").exists() else digits(folder)
    rows, queries = DataLoader(train, batch_size=len(train)), DataLoader(tests, batch_size=len(tests))
    found = {}
    for name, make, way in attributors(models[0], [model.state_dict() for model in models], regulariser):
        if only and name not in only:
            continue
        start = time.time()
        try:
            attributor = make()
            if way != "pairs":
                attributor.cache(rows)
            with torch.no_grad():
                scores = attributor.attribute(queries) if way == "cache-tests" else attributor.attribute(rows, queries)
            scores = torch.as_tensor(scores).detach().double().cpu().numpy()
            if scores.shape != (len(train), len(tests)):
                raise ValueError(f"scores of shape {scores.shape}")
        except Exception as error:  # whatever a package raises, the others are measured
            found[name] = f"does not run: {type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
            continue
        np.save(folder / f"{name}.npy", np.ascontiguousarray(scores))
        found[name] = time.time() - start
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    suites = ["digits-lr", "digits-mlp", "lora-lm"]
    parser.add_argument("suites", nargs="*", default=suites, help=", ".join(suites))
    parser.add_argument("--cache", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoints", default="1", help="models to average over, for those that depend on a seed")
    parser.add_argument("--seeds", default="6", help="models trained on each half")
    parser.add_argument("--only", nargs="*", help="dattri's attributors by name")
    parser.add_argument("--program", nargs="+", required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for suite in arguments.suites:
        data = licences_text(arguments.cache) if suite == "lora-lm" else digits_table(arguments.cache)
        if data is None:
            continue
        folder = arguments.cache / f"{suite}-{arguments.seeds}-{arguments.checkpoints}"
        sizes = ["--seeds", arguments.seeds, "--checkpoints", arguments.checkpoints]
        print(ours(arguments, suite, data, folder, *sizes))
        found = run_dattri(folder, arguments.only)
        names = [name for name, seconds in found.items() if isinstance(seconds, float)]
        if names:
            measured = json.loads(ours(arguments, suite, data, folder, "--scores", ",".join(names), "--json"))
            for line in measured["scores"]:
                interval = f"{line['low']:.3f} to {line['high']:.3f}"
                print(f"{line['name']:<20} LDS {line['lds']:.4f}  {interval}  {found[line['name']]:.2f} s")
        for name, why in found.items():
            if not isinstance(why, float):
                print(f"  {name}: {why}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
