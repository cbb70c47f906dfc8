//! `bptt devices`: what `--adapter` can name, and what each offers.

use std::process::ExitCode;

use bptt::device::{Cpu, Device, adapters};
use bptt::error::{Bytes, Result};
use pollster::block_on;
use serde_json::json;

use super::{Global, tune};

#[derive(clap::Args)]
pub struct DevicesArgs {
    /// Measure which kernels are fastest on each adapter, or on that of `--adapter`, and keep the choice for later runs
    #[arg(long)]
    tune: bool,
}

pub fn run(args: &DevicesArgs, global: &Global) -> Result<ExitCode> {
    let mut objects = Vec::new();
    for adapter in block_on(adapters()) {
        out!("gpu  {} ({}, {})", adapter.name, adapter.kind, adapter.backend);
        let (buffer, binding) = (Bytes(adapter.max_buffer), Bytes(adapter.max_binding));
        let half = adapter.half.map_or("none".to_owned(), |half| half.to_string());
        out!(
            "     {}; largest buffer {buffer}, largest binding {binding}; for mixed precision: {half}",
            adapter.driver
        );
        let asked =
            global.adapter.as_ref().is_none_or(|name| adapter.name.to_lowercase().contains(&name.to_lowercase()));
        let tuned = if args.tune && asked { Some(tune::tune(&adapter.name)?) } else { None };
        objects.push(json!({
            "tuned": tuned,
            "device": "gpu", "adapter": adapter.name, "kind": adapter.kind, "backend": adapter.backend,
            "driver": adapter.driver, "max_buffer_size": adapter.max_buffer,
            "max_storage_buffer_binding_size": adapter.max_binding,
            "mixed": adapter.half.map(|half| half.to_string()),
        }));
    }
    let cpu = Cpu::<f32>::new();
    out!("cpu  {}", cpu.adapter());
    objects.push(json!({ "device": "cpu", "adapter": cpu.adapter() }));
    global.print_json(&json!({ "devices": objects }));
    Ok(ExitCode::SUCCESS)
}
