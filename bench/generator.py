"""StyleGAN2's synthesis on this machine: every backend against the papers' way of writing it, in one run.

    python -m bench.generator [--sizes 256 1024] [--batches 1 4 8] [--turns 3] [--threads 2]
        [--without-onnx] [--device cuda]

The same random weights everywhere, 256 px with channel base 16384 and 1024 px with 32768, constant noise.
Methods take turns, and the fastest turn of each counts, for others share the machine; CPU seconds say more
than the wall clock where it is loaded. The share of peak is the network's products (of the transposed way,
the fewest; without those that make RGB) by CPU second, against those of one large convolution in the same
precision, measured in the same turns. Errors are in levels of 255 against float32. On CUDA the time is that
of the wall clock until the device is done, pictures stay there, convolutions have no TF32, and each way is
there once more with its kernels recorded (`-graph`).

Aims, of CPU seconds at 256 px: at least 1.5 times the plain way in float32, 5 times in bfloat16 where the CPU
has AMX, at most 2 levels off on average; at least 60 % of the peak.
"""

import argparse
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.plain.stylegan2 import synthesis
from generative.backends.onnx import OnnxRunner
from generative.backends.torch import fast_synthesis
from generative.export.graphs import Options
from generative.export.onnx import export_onnx
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from workers.graphs import CudaRecorder, Recorder

BASES = {64: 8192, 256: 16384, 1024: 32768}
AIM, AMX_AIM, SHARE_AIM, LEVELS_AIM = 1.5, 5.0, 0.6, 2.0
SIDE, WIDTH = 128, 128  # of the convolution that stands for the peak
ROWS = {"cpu": 4, "cuda": 64}
Paint = Callable[[], Tensor]


@dataclass
class Timed:
    """A way to paint, and its fastest turns."""

    name: str
    dtype: torch.dtype
    paint: Paint
    device: str = "cpu"
    wall_s: float = float("inf")
    cpu_s: float = float("inf")
    result: Tensor = field(default_factory=lambda: torch.empty(0))

    def turn(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.result = self.paint()
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.cpu_s = min(self.cpu_s, time.process_time() - cpu)
        self.wall_s = min(self.wall_s, time.perf_counter() - wall)

    @property
    def device_s(self) -> float:
        """What it costs: of a CPU's cores, or of the whole device."""
        return self.cpu_s if self.device == "cpu" else self.wall_s


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024], choices=sorted(BASES))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--without-onnx", action="store_true", help="whose export takes minutes at 1024 px")
    parser.add_argument("--device", default="cpu", choices=list(ROWS))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.allow_tf32 = False
    print(
        f"{machine(args.device)}, {args.threads} threads, load {Path('/proc/loadavg').read_text().split()[0]}"
    )
    reached = True
    with torch.no_grad():
        for size in args.sizes:
            generator = random_generator(size)
            with tempfile.TemporaryDirectory() as folder:
                exports = not args.without_onnx
                runner = exported(generator, Path(folder), args.device) if exports else None
                ways = Ways(generator.to(args.device), runner)
                for N in args.batches:
                    reached &= compared(generator, ways.of(N), N, args.turns)
    if args.device == "cuda":
        print(f"\npeak memory of the device: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of the process, all ways together: {peak:.1f} GiB")
    return 0 if reached else 1


def exported(generator: Generator, folder: Path, device: str) -> OnnxRunner:
    record = export_onnx(generator, "bench", "", folder, Options(output="float"))
    return OnnxRunner(folder, record, torch.device(device))


def machine(device: str = "cpu") -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":")[1].strip() for line in flags.splitlines() if "model name" in line), "?")
    has = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{name} ({platform.machine()}; {' '.join(has)}), torch {torch.__version__}"


def has_amx() -> bool:
    return "amx_bf16" in machine()


def random_generator(size: int) -> Generator:
    torch.manual_seed(0)
    generator = Generator(StyleGAN2Config(size, channel_base=BASES[size])).eval().requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.1)
    return generator


class Ways:
    """Everything that is prepared once for a generator."""

    def __init__(self, generator: Generator, runner: OnnxRunner | None) -> None:
        self._generator, self._runner = generator, runner
        self._fast = {dtype: fast_synthesis(generator, dtype) for dtype in (torch.float32, torch.bfloat16)}

    def of(self, N: int) -> list[Timed]:
        """The ways to paint N pictures; the plain one comes first."""
        g, rng = self._generator, torch.Generator().manual_seed(N)
        z = torch.randn(N, g.z_dim, generator=rng).to(g.w_avg.device)
        styles = g.styles(g.map(z)[:, None].expand(-1, g.num_ws, -1))
        noises = g.draw_noises("const", None, g.stored_noise(), N, None)
        rows = torch.cat(list(styles.values()), dim=1).cpu().numpy()
        paints: dict[str, Paint] = {
            "plain": lambda: synthesis(g, styles, noises),
            "torch": lambda: g.synthesize_styles(styles),
            "prepared": lambda: self._fast[torch.float32](styles, noises),
            "prepared-bf16": lambda: self._fast[torch.bfloat16](styles, noises),
        }
        if (runner := self._runner) is not None:
            paints["onnx"] = lambda: torch.from_numpy(runner.run("synthesis_const", {"styles": rows}))
        low, device = torch.bfloat16, g.w_avg.device.type
        if device == "cuda":
            record = CudaRecorder()
            paints |= {f"{n}-graph": recorded(record, paint) for n, paint in paints.items() if n != "onnx"}
        return [
            Timed(name, low if "bf16" in name else torch.float32, paint, device)
            for name, paint in paints.items()
        ]


def recorded(record: Recorder, paint: Paint) -> Paint:
    """The same, launched as a whole."""
    painted: list[Tensor] = []
    launch = record(lambda: painted.append(paint()))

    def launched() -> Tensor:
        launch()
        return painted[-1]

    return launched


def compared(generator: Generator, ways: list[Timed], N: int, turns: int) -> bool:
    """Print a table; whether the aims were reached."""
    device = ways[0].device
    peaks = [large_convolution(dtype, device) for dtype in (torch.float32, torch.bfloat16)]
    for _ in range(turns + 1):  # the first warms up
        for way in (*ways, *peaks):
            way.turn()
    plain, exact = ways[0], ways[1].result.cpu()
    best = {peak.dtype: 2 * 9 * WIDTH**2 * SIDE**2 * ROWS[device] / peak.device_s for peak in peaks}
    print(f"\n{generator.img_resolution} px, batch {N}: {products(generator) / 1e9:.1f} G products a picture")
    cost = f"{device.upper()} s/image"
    print(f"{'':20}{'images/s':>9}{cost:>13}{'x plain':>9}{'of peak':>9}{'mean err':>10}{'max':>7}")
    reached = True
    for way in ways:
        ratio = plain.device_s / way.device_s
        share = 2 * products(generator) * N / way.device_s / best[way.dtype]
        levels = (way.result.cpu() - exact).abs() * 127.5
        print(
            f"{way.name:20}{N / way.wall_s:9.2f}{way.device_s / N:13.5f}{ratio:9.2f}{share:9.0%}"
            f"{float(levels.mean()):10.4f}{float(levels.max()):7.2f}"
        )
        if way.name.startswith("prepared") and generator.img_resolution == 256:
            low = way.dtype == torch.bfloat16
            aim = AMX_AIM if low and has_amx() else AIM
            reached &= ratio >= aim and float(levels.mean()) <= LEVELS_AIM and share >= SHARE_AIM
    return reached


def large_convolution(dtype: torch.dtype, device: str) -> Timed:
    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape).to(device, dtype).contiguous(memory_format=torch.channels_last)

    x, w = drawn(ROWS[device], WIDTH, SIDE, SIDE), drawn(WIDTH, WIDTH, 3, 3)
    return Timed("peak", dtype, lambda: F.conv2d(x, w, padding=1), device)


def products(generator: Generator) -> float:
    """Multiplications for one picture, of the convolutions alone."""
    total = 0
    for module in generator.synthesis.modules():
        if (weight := getattr(module, "weight", None)) is None or weight.ndim != 4:
            continue
        side = getattr(module, "resolution", 0)
        total += weight.numel() * (side // 2 if getattr(module, "up", False) else side) ** 2
    return float(total)


if __name__ == "__main__":
    raise SystemExit(main())
