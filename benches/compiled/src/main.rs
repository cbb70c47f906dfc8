//! What other compilers make of the kernels as a GPU runs them, without the checks that `bptt` leaves out too.
//!
//!     compiled [metal]                      one JSON line for each kernel, with its text in Metal's language
//!     compiled driver [ADAPTER [KERNEL …]]  what a Vulkan driver's own compiler says, as a table
//!
//! ADAPTER and KERNEL are parts of names, in any case. A driver compiles for GPUs that the machine has not if it is told so:
//! Mesa's NVK for an RTX 3090 with `-Dtools=drm-shim` in its build and then
//! `LD_PRELOAD=libnouveau_noop_drm_shim.so NOUVEAU_CHIPSET=172`, RADV for an RX 7900 XTX with `RADV_FORCE_FAMILY=navi31`.

mod driver;
mod kernels;
mod metal;
mod spirv;
mod vulkan;

use std::error::Error;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).map(|argument| argument.to_lowercase()).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["metal"] => metal::print(),
        ["driver"] => driver::print("", &[]),
        ["driver", adapter, ref kernels @ ..] => driver::print(adapter, kernels),
        _ => Err("neither `metal` nor `driver [ADAPTER [KERNEL …]]`".into()),
    }
}
