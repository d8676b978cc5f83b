"""StyleGAN3 on one CPU thread: its nonlinearity against the slow twin, in one run, and whole pictures.

    python -m bench.stylegan3 [--seconds 10]

Aim: at least 25 times as fast as the twin. Pictures are 256 px, of the translation- and the rotation-
equivariant network (t, r) with a quarter of the published channels: `channel_base` 8192 and 16384.
"""

import argparse
import time
from collections.abc import Callable

import torch

from generative.networks.stylegan3 import Generator, SynthesisLayer
from generative.networks.stylegan3_geometry import StyleGAN3Config, layers
from generative.ops.filtered_lrelu import filtered_lrelu, filtered_lrelu_reference

AIM, CHANNELS = 25, 16  # times as fast; the twin would take minutes for as many as a network has
CONFIGS = {
    "t": StyleGAN3Config(256, channel_base=8192),
    "r": StyleGAN3Config(256, channel_base=16384, channel_max=1024, conv_kernel=1, use_radial_filters=True),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each network (default 10)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    slowest = 0.0
    with torch.no_grad():
        print("{:10}{:>8}{:>12}{:>12}{:>9}".format("layer", "network", "fast, ms", "twin, ms", "ratio"))
        for name, config in CONFIGS.items():
            for i in (3, 8):
                fast, twin = nonlinearities(config, i)
                slowest = min(slowest or twin / fast, twin / fast)
                print(f"{i:<10}{name:>8}{1e3 * fast:>12.1f}{1e3 * twin:>12.1f}{twin / fast:>8.0f}x")
        print("\n{:10}{:>8}{:>12}{:>14}".format("network", "size", "images/s", "CPU s/image"))
        for name, config in CONFIGS.items():
            wall, cpu = pictures(config, args.seconds)
            print(f"{name:10}{config.img_resolution:>8}{1 / wall:>12.2f}{cpu:>14.2f}")
    print(f"\nat least {slowest:.0f} times as fast as the twin (aim: {AIM})")
    return 0 if slowest >= AIM else 1


def nonlinearities(config: StyleGAN3Config, i: int) -> tuple[float, float]:
    """Seconds for the nonlinearity of layer i, with few channels: fast, and by the definition."""
    geometry = layers(config)[i]
    layer = SynthesisLayer(geometry, config)
    side = geometry.before.size + geometry.kernel - 1
    x = torch.randn(1, CHANNELS, side, side).contiguous(memory_format=torch.channels_last)
    options = {"up": geometry.up, "down": geometry.down, "padding": geometry.padding, "clamp": 256.0}
    arguments = (x, torch.randn(CHANNELS), layer.up_filter, layer.down_filter)
    fast = best(lambda: filtered_lrelu(*arguments, **options), 10)
    return fast, best(lambda: filtered_lrelu_reference(*arguments, **options), 2)


def best(run: Callable[[], object], repeats: int) -> float:
    """CPU seconds of the fastest run; others shared the machine."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return min(times)


def pictures(config: StyleGAN3Config, seconds: float) -> tuple[float, float]:
    """Wall and CPU seconds for one picture, one at a time."""
    torch.manual_seed(0)
    generator = Generator(config).eval()
    z = torch.randn(1, config.z_dim)
    generator(z)
    done, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        generator(z)
        done += 1
    return (time.perf_counter() - wall) / done, (time.process_time() - cpu) / done


if __name__ == "__main__":
    raise SystemExit(main())
