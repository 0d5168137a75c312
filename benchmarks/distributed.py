"""Two processes against one, each pinned to a core of its own: rows per second with the same global batch.

    python benchmarks/distributed.py

The job is an MLP (width 512, six blocks) on rows of 64 numbers, global batch 2048, as `pushforward train` runs it but
for checkpoints and reports. Rounds alternate between one process and two; the median ratio of wall-clock speeds is
printed, and beside it the ratio of the CPU seconds that a process spends on a step: what the machine does besides does
not change it much, but it does not see a process wait for the other. With ``--shard`` two share out the weights.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time

BATCH, DIMENSION = 2048, 64


def work(steps, warm, shard):
    """One process of a job: pinned to a core, timed after a few steps."""
    rank = int(os.environ["RANK"])
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    import torch

    from pushforward.batches import BatchRecipe, feed_for
    from pushforward.config import Config, NetConfig, TrainConfig, components, network
    from pushforward.data import DataSpec
    from pushforward.training import Budget, OptimizerConfig, TrainingOptions, fit, process_group

    torch.set_num_threads(1)
    config = Config(net=NetConfig(width=512, depth=6), train=TrainConfig(batch=BATCH))
    parts, net = components(config, DataSpec((DIMENSION,))), network(config, DataSpec((DIMENSION,)))
    data = torch.randn(20_000, DIMENSION, generator=torch.Generator().manual_seed(0))
    feed = feed_for(data, None, BatchRecipe(parts.path, parts.coupling, parts.times, BATCH), 0, ahead=4)
    marks = []

    def loss(net, batch, generator):
        return parts.objective(parts.field_of(net), batch[0], batch[1], generator)

    def watched(step):
        if step == warm:
            marks.append((time.perf_counter(), time.process_time()))
        return feed(step)

    with process_group() as team:
        optimizer = OptimizerConfig(lr=1e-3, warmup=10, weight_decay=0.0, clip=1.0, ema=7.0)
        options = TrainingOptions(processes=team, shard=shard and team.count > 1)
        fit(net, loss, watched, Budget(warm + steps, None), optimizer, options=options)
        wall, cpu = time.perf_counter() - marks[0][0], time.process_time() - marks[0][1]
        if team.main:
            print(json.dumps({"wall": wall / steps, "cpu": cpu / steps}))
    feed.close()


def job(count, steps, warm, shard):
    """Seconds per step, by the wall and by the main process's CPU, of a job of ``count`` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, __file__, "--steps", str(steps), "--warm", str(warm), "--work"]
    command += ["--shard"] if shard else []
    started = []
    for rank in range(count):
        environment = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("a process failed")
    return json.loads(said[0].splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shard", action="store_true", help="share out the weights of the two")
    parser.add_argument("--work", action="store_true", help="(be one of the processes)")
    args = parser.parse_args()
    if args.work:
        work(args.steps, args.warm, args.shard)
        return
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two cores are needed")
    wall, cpu = [], []
    for _ in range(args.rounds):
        one, two = (job(count, args.steps, args.warm, args.shard) for count in (1, 2))
        wall.append(one["wall"] / two["wall"])
        cpu.append(one["cpu"] / two["cpu"])
        speeds = f"one {BATCH / one['wall']:7.0f} rows/s   two {BATCH / two['wall']:7.0f} rows/s"
        print(f"{speeds}   ratio {wall[-1]:.2f}   of CPU seconds {cpu[-1]:.2f}", flush=True)
    print(f"throughput of two over one: {statistics.median(wall):.2f} (rounds {min(wall):.2f} to {max(wall):.2f})")
    print(f"CPU seconds a step, one over each of two: {statistics.median(cpu):.2f}")
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")


if __name__ == "__main__":
    main()
