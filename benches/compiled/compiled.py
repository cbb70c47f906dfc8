"""What NVIDIA's compiler makes of the kernels, without a GPU: registers, spills and instructions of the loops, as a table.

    pip install nvidia-cuda-nvrtc nvidia-cuda-nvdisasm
    python benches/compiled/compiled.py [--arch sm_90] [--keep FOLDER] [FILTER ...]

naga writes each kernel in Metal's language, `metal.h` gives that a meaning in CUDA's C++. A Vulkan driver has a compiler of
its own, which is related and need not choose alike: `cargo run --release -- driver` here asks that, of 16-bit kernels too.
"""

import argparse
import ctypes
import importlib.util
import json
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
# What the arguments of an entry point are in CUDA, by their attribute.
BUILTINS = {
    "threadgroup_position_in_grid": "(blockIdx.x, blockIdx.y, blockIdx.z)",
    "threadgroups_per_grid": "(gridDim.x, gridDim.y, gridDim.z)",
    "thread_index_in_threadgroup": " = threadIdx.x",
    "thread_position_in_grid": "({})".format(", ".join(f"blockIdx.{d} * blockDim.{d} + threadIdx.{d}" for d in "xyz")),
}


def packaged(name):
    """A file of NVIDIA's Python packages."""
    found = importlib.util.find_spec("nvidia")
    for place in found.submodule_search_locations if found else []:
        for path in sorted(Path(place).rglob(name)):
            return path
    raise SystemExit(f"no {name}: pip install nvidia-cuda-nvrtc nvidia-cuda-nvdisasm")


def cuda(metal):
    """A kernel in Metal's language, as naga writes it, in CUDA's."""
    text = metal[metal.index("using metal::uint;") :]
    # Numbers are of 32 bits, swizzles are functions.
    text = re.sub(r"(?<![\w.])(\d+\.\d*(?:e[+-]?\d+)?)(?![\w.])", r"\1f", text)
    text = re.sub(r"\.(xy|zw|xyz)\b", r".\1()", text)
    text = re.sub(r"metal::threadgroup_barrier\([^)]*\)", "__syncthreads()", text)
    text = re.sub(r"^constant (\w+) (\w+) = ", r"constexpr \1 \2 = ", text, flags=re.M)
    entry = re.search(r"\[\[max_total_threads_per_threadgroup\((\d+)\)\]\] kernel void (\w+)\((.*?)\n\) \{", text, re.S)
    threads, name, arguments = entry.groups()
    functions = re.sub(r"^((?:metal::)?\w+ \w+\()$", r"INLINE \1", text[: entry.start()], flags=re.M)
    given, own = [], []
    for argument in re.split(r"\n, |\n  ", arguments.strip()):
        kind, variable, attribute = re.match(r"(.*?)(\w+)(?: \[\[(.*)\]\])?$", argument.strip()).groups()
        # `uint`, or the address space, the type and perhaps `const`.
        space, *rest = kind.replace("&", "").split()
        if attribute in BUILTINS:
            own.append(f"{space} {variable}{BUILTINS[attribute]};")
            continue
        kind = rest[0]
        if space == "threadgroup":
            own.append(f"__shared__ {kind} {variable};")
        elif space == "constant":
            given.append(f"const __grid_constant__ {kind} {variable}")
        else:
            const = "const " if "const" in rest else ""
            given.append(f"{const}{kind}* __restrict__ {variable}_")
            own.append(f"{const}{kind}& {variable} = *{variable}_;")
    head = f'extern "C" __global__ void __launch_bounds__({threads}) {name}({", ".join(given)}) {{\n'
    return (HERE / "metal.h").read_text() + functions + head + "\n".join(own) + text[entry.end() :]


class Compiler:
    """NVIDIA's run-time compiler."""

    def __init__(self, arch):
        self.library = ctypes.CDLL(str(packaged("libnvrtc.so.*[0-9]")))
        options = [f"--gpu-architecture={arch}", "--use_fast_math", "--device-as-default-execution-space",
                   "--ptxas-options=-v", "--disable-warnings"]
        self.options = (ctypes.c_char_p * len(options))(*map(str.encode, options))

    def binary(self, text):
        """The machine code and what the compiler says."""
        program = ctypes.c_void_p()
        self.library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel", 0, None, None)
        failed = self.library.nvrtcCompileProgram(program, len(self.options), self.options)
        log = self._bytes(program, "ProgramLog").decode()
        if failed:
            raise SystemExit(log)
        return self._bytes(program, "CUBIN"), log

    def _bytes(self, program, what):
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        held = ctypes.create_string_buffer(size.value)
        getattr(self.library, f"nvrtcGet{what}")(program, held)
        return held.raw


def loops(code):
    """The loops of disassembled machine code, from the first line on: how many instructions, by their names."""
    instructions, labels = [], {}
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif instruction := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][^;]*);", line):
            instructions.append(instruction[1])
    spans = set()
    for end, instruction in enumerate(instructions):
        target = re.search(r"BRA.*\((\.L_x_\d+)\)", instruction)
        if target and labels[target[1]] < end:
            spans.add((labels[target[1]], end + 1))
    names = [re.split(r"[. ]", instruction)[0] for instruction in instructions]
    return [Counter(names[begin:end]) for begin, end in sorted(spans)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="sm_90", help="sm_90 is an H100 or H200")
    parser.add_argument("--keep", type=Path, help="leave C++ and machine code here")
    parser.add_argument("filter", nargs="*", help="parts of the kernels' names")
    options = parser.parse_args()
    compiler, disassembler = Compiler(options.arch), packaged("nvdisasm")
    cargo = ["cargo", "run", "--quiet", "--release", "--manifest-path", str(HERE / "Cargo.toml")]
    print("| kernel | | registers | spilled | workgroup memory | loops: instructions (multiply-adds) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for line in subprocess.run(cargo, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines():
        kernel = json.loads(line)
        if options.filter and not any(part in kernel["kernel"] for part in options.filter):
            continue
        text = cuda(kernel["metal"])
        binary, log = compiler.binary(text)
        with tempfile.TemporaryDirectory() as folder:
            name = "-".join(filter(None, [kernel["kernel"], kernel["entry"], kernel["made_for"].replace(", ", "-")]))
            path = (options.keep or Path(folder)) / f"{name}.cubin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(binary)
            code = subprocess.run([disassembler, "-c", path], check=True, capture_output=True, text=True).stdout
            if options.keep:
                path.with_suffix(".cu").write_text(text)
                path.with_suffix(".sass").write_text(code)
        said = {what: int((re.findall(rf"(\d+) {what}", log) or ["0"])[0])
                for what in ["bytes spill stores", "bytes smem", "registers", "bytes stack frame"]}
        spilled = max(said["bytes spill stores"], said["bytes stack frame"])
        long = [f"{sum(loop.values())} ({loop['FFMA'] + loop['FMUL']})" for loop in loops(code) if sum(loop.values()) >= 32]
        entry = "" if kernel["entry"] == "main" else f" `{kernel['entry']}`"
        print(f"| `{kernel['kernel']}`{entry} | {kernel['made_for']} | {said['registers']} | {spilled or ''} | "
              f"{said['bytes smem'] or ''} | {', '.join(long)} |")


if __name__ == "__main__":
    main()
