#!/usr/bin/env python3
"""Holds README.md against the shipped recordings, from which its tables and many numbers of its prose are made.

recorded_numbers.py CROSSOVER            exit 1 where they disagree, with a diff and what else is to be changed
recorded_numbers.py CROSSOVER --write    write the tables between the markers, and the numbers of sentences that are
                                         there; exit 1 with the sentences that are left to edit by hand

Numbers of synthetic machines are looked at by the tests that make them (tests/support/readme.hpp); those of runs that
are not in the recordings (seconds on GPUs) by none.
"""

import collections
import csv
import difflib
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
NUMBER = r"\d+(?:\.\d+)*"
WORDS = "no one two three four five six seven eight".split()
FUSED = "allreduce_residual_rmsnorm"
OUR_TABLE = "this table (`out/table.yaml`)"
MIB = 1 << 20

Point = collections.namedtuple("Point", "world_size pattern quant hidden_dim num_tokens")


class Recording:
    """`us`: for each point, the median over sessions by the algorithm's name; `facts`: provenance.yaml's texts."""

    def __init__(self, name):
        self.folder = "configs/recordings/" + name
        provenance = (ROOT / self.folder / "provenance.yaml").read_text(encoding="utf-8")
        facts = re.findall(r'^ *(\w+): "?([^"\n]+)"?$', provenance, re.M)
        self.facts = dict(reversed(facts)) # the first of a name: the sweep's hidden_dims, not the validation's
        self.hidden_dims = json.loads(self.facts["hidden_dims"])
        self.multicast = "NVLink multicast " + ("on" if self.facts["multicast"] == "true" else "off")
        samples = collections.defaultdict(lambda: collections.defaultdict(list))
        with open(ROOT / self.folder / "samples.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                point = Point(int(row["world_size"]), row["pattern"], row["quant"], int(row["hidden_dim"]),
                              int(row["num_tokens"]))
                if row["status"] == "ok":
                    samples[point][row["algorithm"]].append(float(row["latency_us"]))
        self.us = {point: {name: statistics.median(us) for name, us in algorithms.items()}
                   for point, algorithms in samples.items()}

    def points(self, world_size, pattern):
        return [(point, us) for point, us in self.us.items() if point[:2] == (world_size, pattern)]


def message_bytes(point):
    return 2 * point.num_tokens * point.hidden_dim


def fastest(us):
    return min(us, key=us.get)


def span(values, between):
    return f"{min(values):.2f}{between}{max(values):.2f}"


def markdown(header, rows):
    lines = ["| " + " | ".join(row) + " |\n" for row in (header, *rows)]
    return "".join([lines[0], "|" + "--|" * len(header) + "\n", *lines[1:]])


def summary_table(output):
    """The summary of `tune`, without the rows of what was not measured and the columns that hold nothing then."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line[:1] == "|"]
    rows = [row for row in rows if row[0][0] != "-" and "not measured" not in row]
    header, *rows = zip(*(column for column in zip(*rows) if set(column[1:]) != {"–"}))
    return markdown(header, rows)


def push_table(moe, cells):
    rows = []
    for operation, tokens in ((a, b) for a in ("dispatch", "combine") for b in ("even", "one_hot", "zipf")):
        pattern = f"moe_{operation}_{tokens}"
        row = [operation, f"`{tokens}`"]
        for world_size in (2, 4):
            gains = {False: [], True: []} # by whether the message is a large one
            for point, us in moe.points(world_size, pattern):
                if point.hidden_dim in moe.hidden_dims: # the others are held out: one session each
                    nccl = min(value for name, value in us.items() if name != "push")
                    gains[message_bytes(point) > 8 * MIB].append(nccl / us["push"])
            row += [span(gains[False], " … "), span(gains[True], " … ")]
        intervals = next(cell["intervals"] for cell in cells if (cell["pattern"], cell["world_size"]) == (pattern, 4))
        last = intervals[-1]
        row.append("–" if last["algorithm"] == "push" else f"{last['min_bytes'] / MIB:.1f} MiB, `{last['algorithm']}`")
        rows.append(row)
    return markdown(["operation", "tokens", "2 ranks, up to 8 MiB a rank", "above", "4 ranks, up to 8 MiB a rank",
                     "above", "4 ranks: NCCL above"], rows)


def kernels_table(recording, world_size):
    better, either = ("oneshot", "oneshot") if world_size == 2 else ("better", "oneshot twoshot")
    columns = {name: (name, "none", FUSED) for name in either.split() + ["custom_fused_norm"]}
    columns["best NCCL, fused norm"] = ("nccl_fused_norm nccl_symm_fused_norm", "none", FUSED)
    for quant in ("fp8", "fp4"):
        columns[f"{better}, {quant}"] = (either, quant, FUSED)
        columns[f"sharded, {quant}"] = ("twoshot", quant, FUSED + "_sharded")
    rows = []
    for tokens in (1, 8, 16, 64, 256, 1024, 4096):
        kib = 2 * tokens * 8192 // 1024
        row = [f"{kib} KiB" if kib < 1024 else f"{kib // 1024} MiB"]
        for title, (names, quant, pattern) in columns.items():
            us = recording.us[Point(world_size, pattern, quant, 8192, tokens)]
            row.append(f"{min(us[name] for name in names.split()):.{1 if 'NCCL' in title else 2}f}")
        rows.append(row)
    return markdown(["message", *columns], rows)


def regret_table(evaluations):
    rows = []
    for name in (OUR_TABLE, "vLLM", "SGLang", "FlashInfer AUTO", "TensorRT-LLM", "always NCCL"):
        for world_size in (2, 4):
            group = evaluations[name, world_size]
            share = group["lost_us"] / group["best_us"]
            rows.append([name, str(world_size), f"{100 * group['mean']:+.2f} %", f"{100 * group['max']:+.1f} %",
                         f"{100 * share:+.2f} %"])
    return markdown(["rule", "world size", "mean regret", "worst", "share of the time"], rows)


def allreduce_sentences(recording, replayed_sessions, tune_output, evaluations):
    """Sentences, and whether they hold."""
    gpus, sessions = int(recording.facts["gpus"]), WORDS[int(recording.facts["sessions"])]
    machine = "NVSwitch, driver {driver}, CUDA {cuda}, NCCL {nccl}, ".format(**recording.facts) + recording.multicast
    yield (f"On {gpus} × NVIDIA H200 ({machine}), bfloat16, residual + RMSNorm, {WORDS[replayed_sessions]} of {sessions} "
           "sessions, it ends with", True)
    yield (f"the machine had {WORDS[gpus]} GPUs, so world size 8 is not measured", gpus < 8)
    yield (f"µs a call on {gpus} × H200 ({machine}), hidden_dim 8192", True)
    yield (f"the recording `h200-4x`, medians of {sessions} sessions", True)
    yield ("on the recording, which holds default launches only", recording.facts["launches"] == "default")

    samples, gpu_time = re.search(r"^Samples of the search: .* \((.*) %\), (.*) % of", tune_output, re.M).groups()
    yield (f"the search takes {samples} % of the grid's samples and {gpu_time} % of its GPU time", True)
    two, four = evaluations[OUR_TABLE, 2], evaluations[OUR_TABLE, 4]
    yield (f"at all recorded points: {100 * two['mean']:.2f} % on average for world size 2, {100 * four['mean']:.2f} % "
           f"for 4, {100 * two['max']:.1f} % and {100 * four['max']:.1f} % at most", True)
    held_out = re.findall(r"at (\d+) held-out points of .* worst \+(.*) %", tune_output)
    worst, points = max(float(worst) for _, worst in held_out), sum(int(points) for points, _ in held_out)
    yield ("On the recording none does", worst <= 1) # half the guard band
    yield (f"it loses at most {worst:.1f} % at any of its {points} held-out points", True)
    points = sorted({group["points"] for group in evaluations.values()})
    yield (f"lose at the recording's {points[0]} points a world size", len(points) == 1)

    behind = max(us["oneshot"] / min(us.values()) for _, us in recording.points(2, FUSED)) - 1
    yield (f"There oneshot is the fastest of all, or within {100 * behind:.1f} % of it, at every size, and with the "
           "recording's other hidden dims", behind < 0.02)
    winners = {fastest(us) for _, us in recording.points(4, FUSED)}
    yield ("one of the two is the fastest of all at every point", winners <= {"oneshot", "twoshot"})
    curves = collections.defaultdict(lambda: {True: [], False: []}) # sizes, by whether oneshot is the faster
    for point, us in recording.points(4, FUSED):
        curves[point.hidden_dim, point.quant][us["oneshot"] < us["twoshot"]].append(message_bytes(point) // 1024)
    yield (f"oneshot is the faster up to {min(max(curve[True]) for curve in curves.values())} KiB, twoshot from "
           f"{max(min(curve[False]) for curve in curves.values())} KiB on, at every hidden dim and quant mode of the "
           "recording", all(max(curve[True]) < min(curve[False]) for curve in curves.values()))

    # Read: the sum and the residual; written: the residual and the output, whose bytes an element are these.
    speeds = []
    for quant, size in (("none", 2), ("fp8", 1), ("fp4", 0.5 + 1 / 16)):
        points = [point for world_size in (2, 4) for point, _ in recording.points(world_size, FUSED)
                  if point.quant == quant and message_bytes(point) == 64 * MIB]
        norms = [recording.us[point]["nccl_fused_norm"]
                 - recording.us[point._replace(pattern="allreduce", quant="none")]["nccl"] for point in points]
        speeds.append([32 * MIB * (6 + size) / norm / 1e6 for norm in norms])
    shares = [f"{100 * min(each) / 4.8:.0f} to {100 * max(each) / 4.8:.0f} %" for each in speeds]
    none, fp8, fp4 = (span(each, " to ") for each in speeds)
    yield (f"At 64 MiB it moves {none} TB/s, {shares[0]} of the 4.8 TB/s of H200's memory, with fp8 {fp8} ({shares[1]}), "
           f"with fp4 {fp4} ({shares[2]})", True)


def moe_sentences(moe, cells_without_push):
    tokens = {point.num_tokens for point in moe.us}
    yield (f"The recording `h200-4x-moe` ({moe.facts['gpus']} × H200, {moe.multicast}, hidden_dim "
           f"{' and '.join(map(str, moe.hidden_dims))}, {min(tokens)} to {max(tokens)} tokens a rank)", True)
    yield ("At world sizes 2 and 4 the fastest always quantizes first, or scatters",
           {fastest(us) for us in moe.us.values()} <= {"push", "quantize_nccl_allgather", "nccl_reduce_scatter"})
    won, lost = collections.defaultdict(list), collections.defaultdict(list) # sizes, by whether push is the fastest
    for point, us in moe.us.items():
        (won if fastest(us) == "push" else lost)[point[:2]].append(message_bytes(point))
    yield ("At world size 2 `push` is the fastest everywhere, and at 4 but for the largest combines where one rank has "
           "all tokens or about half of them",
           set(lost) == {(4, "moe_combine_one_hot"), (4, "moe_combine_zipf")}
           and all(min(lost[where]) > max(won[where]) for where in lost))
    # Bytes of an element: 4 bits and an 8-bit scale for 16 of them; bfloat16.
    speeds = [4 * 4096 * 7168 * size / 1000 / moe.us[Point(4, f"moe_{operation}_one_hot", quant, 7168, 4096)]["push"]
              for operation, quant, size in (("dispatch", "fp4", 0.5 + 1 / 16), ("combine", "none", 2))]
    yield (f"({speeds[0]:.0f} GB/s to dispatch, {speeds[1]:.0f} GB/s to combine 4096 tokens of 7168 a rank from or to "
           "one)", True)
    ratios = collections.defaultdict(list)
    for point, us in moe.us.items():
        if "dispatch" in point.pattern:
            tokens = "few" if point.num_tokens < 32 else point.num_tokens
            ratios[point.world_size, tokens].append(us["quantize_nccl_allgather"] / us["nccl_allgather_quantize"])
    few, some, many = ([span(ratios[world_size, tokens], " to ") for world_size in (2, 4)]
                       for tokens in ("few", 64, 4096))
    kib = {(cell["pattern"], cell["world_size"]): f"{cell['quantize_before_gather_min_bytes'] / 1024:.0f}"
           for cell in cells_without_push if cell.get("quantize_before_gather_min_bytes") is not None}
    even, one_hot, zipf = ((kib[f"moe_dispatch_{tokens}", 2], kib[f"moe_dispatch_{tokens}", 4])
                           for tokens in ("even", "one_hot", "zipf"))
    yield (f"quantizing before the all-gather pays from {even[0]} KiB a rank at world size 2 and {even[1]} KiB at 4 where "
           f"all have as many tokens, {one_hot[0]} and {one_hot[1]} KiB where one has all, {zipf[0]} and {zipf[1]} KiB "
           "by Zipf", True)
    yield (f"at world size 2, quantizing before the all-gather takes {few[0]} times as long as after it below 32 "
           f"tokens a rank, {some[0]} at 64, and {many[0]} at 4096; at world size 4 {few[1]}, {some[1]} and {many[1]}.",
           True)


def with_table(readme, section, table):
    """README with this table; what stands between the markers before the table stays."""
    begin, end = (f"<!-- {word}: {section} -->\n" for word in ("begin", "end"))
    before, rest = readme.split(begin)
    inside, after = rest.split(end)
    return before + begin + inside[: inside.index("| ")] + table + end + after


def with_sentence(readme, sentence):
    """README with the sentence's numbers where it has the sentence's words, and how often it has these."""
    words = [r"\s+".join(map(re.escape, part.split(" "))) for part in re.split(NUMBER, sentence)]

    def fill(match):
        numbers = iter(re.findall(NUMBER, sentence))
        return re.sub(NUMBER, lambda _: next(numbers), match.group())

    return re.subn(NUMBER.join(words), fill, readme)


def by_the_recordings(readme, crossover):
    """README with the recordings' numbers, and what is to be edited by hand, a line each."""
    recording, moe = Recording("h200-4x"), Recording("h200-4x-moe")
    with tempfile.TemporaryDirectory() as out:
        tune_output = crossover("tune", "--recording", recording.folder, "--out", out)
        provenance = (pathlib.Path(out) / "provenance.yaml").read_text(encoding="utf-8")
        replayed_sessions = int(re.search(r"^  sessions: (\d+)$", provenance, re.M)[1])
        evaluated = json.loads(crossover("evaluate", "--json", "--samples", recording.folder + "/samples.csv",
                                         "--table", out + "/table.yaml", "--table", "configs/incumbents"))
        crossover("tune", "--recording", moe.folder, "--config", "configs/moe.yaml", "--search", "grid", "--out",
                  out + "/moe")
        moe_table = json.loads(crossover("emit", "json", out + "/moe/table.yaml"))
        config = (ROOT / "configs/moe.yaml").read_text(encoding="utf-8")
        without_push = pathlib.Path(out) / "without_push.yaml"
        without_push.write_text(re.sub(r"^ *- push .*\n", "", config, flags=re.M), encoding="utf-8")
        crossover("tune", "--recording", moe.folder, "--config", str(without_push), "--search", "grid", "--out",
                  out + "/without_push")
        without_push = json.loads(crossover("emit", "json", out + "/without_push/table.yaml"))
        evaluations = {(OUR_TABLE if one["file"].startswith(out) else one["table"], group["world_size"]): group
                       for one in evaluated["evaluations"] for group in one["groups"]
                       if group["pattern"] == FUSED and group["quant"] == "all"}
    readme = with_table(readme, "summary of the recording", summary_table(tune_output))
    readme = with_table(readme, "push against NCCL", push_table(moe, moe_table["cells"]))
    for world_size in (2, 4):
        readme = with_table(readme, f"kernels at world size {world_size}", kernels_table(recording, world_size))
    readme = with_table(readme, "regret of engines' rules", regret_table(evaluations))
    by_hand = []
    for sentence, holds in (*allreduce_sentences(recording, replayed_sessions, tune_output, evaluations),
                            *moe_sentences(moe, without_push["cells"])):
        filled, count = with_sentence(readme, sentence)
        if holds:
            readme = filled
        if holds != (count > 0):
            by_hand.append(("README.md lacks: " if holds else "README.md says what does not hold: ") + sentence)
    return readme, by_hand


def main():
    if len(sys.argv) < 2 or sys.argv[2:] not in ([], ["--write"]):
        sys.exit(__doc__)
    binary, write = str(pathlib.Path(sys.argv[1]).resolve()), sys.argv[2:] == ["--write"]

    def crossover(*arguments):
        command = [binary, *arguments]
        return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout

    file = ROOT / "README.md"
    old = file.read_text(encoding="utf-8")
    new, by_hand = by_the_recordings(old, crossover)
    if write:
        file.write_text(new, encoding="utf-8")
    else:
        before, after = (text.splitlines(keepends=True) for text in (old, new))
        sys.stdout.writelines(difflib.unified_diff(before, after, "README.md", "README.md by the recordings"))
    print("".join(line + "\n" for line in by_hand), end="")
    sys.exit(1 if by_hand or (new != old and not write) else 0)


main()
