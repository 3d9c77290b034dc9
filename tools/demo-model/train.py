"""Trains the demo model and writes the checkpoint folder: python train.py --out DIR [--minutes M]."""

import argparse
import json
import os
import pathlib
import random
import shutil
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from transformers import GenerationConfig, PreTrainedTokenizerFast

import tokenizer as tokenizer_file
from data import Data, render
from model import Model, config, from_hf, to_hf

HERE = pathlib.Path(__file__).parent
AUX = 0.02  # weight of the load-balancing loss
AVERAGE = 0.99  # decay per step of the weight average that is saved


class Batches:
    """Endless training batches: conversations sorted by length into a few buckets, so that little is padding."""

    def __init__(self, tok, seed, buckets=8):
        self.tok, self.rng, self.data, self.buckets = tok, random.Random(seed), Data(), buckets
        self.pad = tok.token_to_id("<|endoftext|>")

    def next(self, conversations):
        """ids [rows], targets [rows] (-100 where nothing is learnt), [(sequences, length)]."""
        texts = []
        for _ in range(conversations):
            messages, thought, answer = self.data.conversation(self.rng)
            texts.append(render(messages, self.rng.random() < 0.5, thought, answer))
        return self.pack(texts)

    def pack(self, texts):
        """texts [(prompt, completion)], sorted by length, as next returns them."""
        prompts = self.tok.encode_batch([p for p, _ in texts])
        completions = self.tok.encode_batch([c for _, c in texts])
        both = sorted(((p.ids, c.ids) for p, c in zip(prompts, completions)), key=lambda pc: len(pc[0]) + len(pc[1]))
        ids, targets, shapes = [], [], []
        for i in range(self.buckets):
            part = both[i * len(both) // self.buckets : (i + 1) * len(both) // self.buckets]
            length = max(len(p) + len(c) for p, c in part) - 1
            shapes.append((len(part), length))
            for p, c in part:
                fill = length + 1 - len(p) - len(c)
                row = p + c + [self.pad] * fill
                # the line feed after <|im_end|> is not learnt: generation has stopped by then
                goal = [-100] * len(p) + c[:-1] + [-100] * (fill + 1)
                ids += row[:-1]
                targets += goal[1:]
        return torch.tensor(ids), torch.tensor(targets), shapes

    @torch.no_grad()
    def exact(self, model, exercises, thinking):
        """Share of exercises whose every token is the most likely one: what greedy decoding answers."""
        texts = [render([("user", q)], thinking, thought, answer) for _, q, answer, thought in exercises]
        ids, targets, shapes = self.pack(texts)
        right = (model.head(model.hidden(ids, shapes)).argmax(-1) == targets) | (targets < 0)
        rows = right.split([n * length for n, length in shapes])
        return sum(r.view(shape).all(1).sum().item() for r, shape in zip(rows, shapes)) / len(texts)


class Muon:
    """Momentum, orthogonalised by Newton-Schulz (Jordan et al. 2024), for stacks of matrices [..., rows, columns]."""

    def __init__(self, params, momentum=0.95, decay=0.05):
        self.params, self.momentum, self.decay = params, momentum, decay
        self.buffers = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self, lr):
        groups = {}
        for p, buffer in zip(self.params, self.buffers):
            buffer.lerp_(p.grad, 1 - self.momentum)
            groups.setdefault(p.shape[-2:], []).append((p, p.grad.lerp(buffer, self.momentum)))
        for shape, members in groups.items():
            stack = torch.cat([u.reshape(-1, *shape) for _, u in members])
            stack = orthogonal(stack) * (0.2 * max(shape) ** 0.5)
            at = 0
            for p, u in members:
                n = u.numel() // (shape[0] * shape[1])
                p.mul_(1 - lr * self.decay).sub_(stack[at : at + n].view(p.shape), alpha=lr)
                at += n


def orthogonal(x, steps=5):
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


def schedule(progress, fall):
    """Learning-rate factor: a short rise, a plateau, and a linear fall over the last part."""
    return min(1.0, progress / 0.02, (1 - progress) / fall)


def train_log(folder):
    """The file beside a checkpoint folder that lists the runs it was trained in."""
    return pathlib.Path(f"{folder}.train.json")


def save(model, average, tok, out, runs):
    """Writes the checkpoint folder through transformers, then moves each file into place."""
    work = pathlib.Path(str(out) + ".new")
    shutil.rmtree(work, ignore_errors=True)
    to_hf(model, average).to(torch.bfloat16).save_pretrained(work)
    eos = [tok.token_to_id("<|im_end|>"), tok.token_to_id("<|endoftext|>")]
    GenerationConfig(
        do_sample=True, temperature=0.3, top_p=0.9, top_k=20, eos_token_id=eos, pad_token_id=eos[1]
    ).save_pretrained(work)
    PreTrainedTokenizerFast(
        tokenizer_object=tok, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=4096,
        clean_up_tokenization_spaces=False, chat_template=(HERE / "chat_template.jinja").read_text(),
    ).save_pretrained(work)  # fmt: skip
    tok.save(str(work / "tokenizer.json"))  # as built, without padding or truncation state
    old_names(work)
    out.mkdir(parents=True, exist_ok=True)
    for file in work.iterdir():
        os.replace(file, out / file.name)
    work.rmdir()
    train_log(out).write_text(json.dumps(runs, indent=1))


def old_names(folder):
    """Adds the names that published Qwen3 checkpoints use where transformers 5 writes newer ones; it reads both."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["num_experts"] = config["num_local_experts"]
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.pop("backend", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for file in folder.iterdir():
        file.chmod(0o644)


def progress_report(model, batches):
    """Exact answers on a few held-out exercises, thinking off and on."""
    exercises, parts = batches.data.held_out_exercises(), {}
    for name, kinds in (("+", "+"), ("-", "-"), ("*", "*"), ("facts", None)):
        part = [e for e in exercises if (e[0] == kinds if kinds else e[0] not in "+-*")]
        part = random.Random(5).sample(part, min(60, len(part)))
        parts[name] = [round(batches.exact(model, part, thinking), 3) for thinking in (False, True)]
    return parts


def check_template(tok, data):
    """render() must write what the committed template writes."""
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, chat_template=(HERE / "chat_template.jinja").read_text())
    rng = random.Random(7)
    for i in range(200):
        messages, thought, answer = data.conversation(rng)
        prompt, completion = render(messages, i % 2 == 0, thought, answer)
        turns = [{"role": role, "content": text} for role, text in messages]
        want = fast.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, enable_thinking=i % 2 == 0)
        assert prompt == want, (prompt, want)
        turns.append({"role": "assistant", "content": answer, "reasoning_content": thought if i % 2 == 0 else ""})
        want = fast.apply_chat_template(turns, tokenize=False)
        assert prompt + completion == want, (prompt + completion, want)


def share_gradients(model, spent):
    """Averages the gradients over the processes, and the time spent, which all of them must see alike."""
    grads = [p.grad for p in model.parameters()]
    flat = torch.cat([g.flatten() for g in grads] + [torch.tensor([spent])])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for g, part in zip(grads, flat[:-1].split([g.numel() for g in grads])):
        g.copy_(part.view_as(g))
    return flat[-1].item()


def options():
    args = argparse.ArgumentParser()
    args.add_argument("--out", type=pathlib.Path, required=True)
    args.add_argument("--steps", type=int, default=3000)
    args.add_argument("--minutes", type=float, default=0, help="end earlier, with the whole schedule, at this time")
    args.add_argument("--conversations", type=int, default=96, help="per step")
    args.add_argument("--lr", type=float, default=4e-3)
    args.add_argument("--resume", type=pathlib.Path, help="a checkpoint folder to start from, with a new schedule")
    args.add_argument("--seed", type=int, default=2, help="of the conversations")
    args.add_argument("--fall", type=float, default=0.6, help="the part of the steps in which the rate falls")
    args.add_argument("--save-every", type=int, default=500)
    args.add_argument("--processes", type=int, default=2, help="each takes its part of every step, on one thread")
    return args.parse_args()


def main():
    args = options()
    with tempfile.TemporaryDirectory() as meeting:
        mp.spawn(train, (args, meeting), nprocs=args.processes)


class Optimizer:
    """Muon for the matrices inside the layers, AdamW for the rest, and the running average of all weights."""

    def __init__(self, model):
        self.model, self.average, self.steps = model, None, 0
        inner = [p for n, p in model.layers.named_parameters() if p.ndim >= 2 and not n.endswith("gate")]
        chosen = {id(p) for p in inner}
        outer = [p for p in model.parameters() if id(p) not in chosen]
        self.muon = Muon(inner)
        self.adam = torch.optim.AdamW(outer, betas=(0.9, 0.97), weight_decay=0)

    @torch.no_grad()
    def step(self, lr):
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.adam.param_groups:
            group["lr"] = lr
        self.adam.step()
        self.muon.step(lr)
        self.model.zero_grad()
        weights = self.model.state_dict()
        self.average = self.average or {n: p.clone() for n, p in weights.items()}
        for n, p in weights.items():
            self.average[n].lerp_(p, 1 - min(AVERAGE, self.steps / (self.steps + 10)))
        self.steps += 1


class Figures:
    """What is reported of a run; rows and tokens are those of all processes together."""

    def __init__(self, processes):
        self.processes, self.rows, self.learnt, self.loss, self.counts = processes, 0, 0, None, 0

    def add(self, rows, learnt, loss, model):
        self.rows += rows * self.processes
        self.learnt += learnt * self.processes
        self.loss = loss if self.loss is None else 0.98 * self.loss + 0.02 * loss
        self.counts = self.counts * 0.98 + torch.stack([layer.experts.counts for layer in model.layers])

    def line(self, spent):
        share = self.counts / self.counts.sum(1, keepdim=True)
        return (
            f"loss {self.loss:.4f} experts' shares {share.min():.3f}..{share.max():.3f} "
            f"rows/s {self.rows / spent:.0f} {spent:.0f}s"
        )


def train(rank, args, meeting):
    """One of the processes that train together: same weights, other conversations. Process 0 reports and saves."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}/rank", rank=rank, world_size=args.processes)
    torch.set_num_threads(1)  # threads that wait for each other at every operation lose much on a busy machine
    torch.manual_seed(1)
    tok = tokenizer_file.build()
    check_template(tok, Data())
    model = Model(config(tok.get_vocab_size(), tok.token_to_id("<|im_end|>"), tok.token_to_id("<|endoftext|>")))
    runs = []
    if args.resume:
        from_hf(model, args.resume)
        runs = json.loads(train_log(args.resume).read_text())
    batches = Batches(tok, args.seed * 100 + rank)
    optimizer, figures = Optimizer(model), Figures(args.processes)
    start, step, progress = time.time(), 0, 0.0
    while progress < 1:
        ids, targets, shapes = batches.next(args.conversations // args.processes)
        at = (targets >= 0).nonzero().squeeze(1)
        loss = F.cross_entropy(model.head(model.hidden(ids, shapes)[at]), targets[at])
        (loss + AUX * model.aux()).backward()
        spent = share_gradients(model, time.time() - start)
        lr = args.lr * schedule(max(progress, 0.5 / args.steps), args.fall)
        optimizer.step(lr)
        step += 1
        progress = max(step / args.steps, spent / 60 / args.minutes if args.minutes else 0)
        figures.add(len(ids), len(at), loss.item(), model)
        if rank > 0:
            continue
        if step % 50 == 0 or progress >= 1:
            print(f"step {step} lr {lr:.1e} {figures.line(spent)}", flush=True)
        if step % 250 == 0:
            print("held out, thinking off and on:", progress_report(model, batches), flush=True)
        if step % args.save_every == 0 or progress >= 1:
            run = dict(
                steps=step, conversations=step * args.conversations, rows=figures.rows, learnt_tokens=figures.learnt,
                loss=round(figures.loss, 4), seconds=round(spent),
            )  # fmt: skip
            save(model, optimizer.average, tok, args.out, runs + [run])


if __name__ == "__main__":
    main()
