//! What a Vulkan driver's own compiler says of the kernels, as a Markdown table.

use crate::Result;
use crate::kernels::{made, name};
use crate::vulkan::Driver;

/// The table of the kernels, or of those whose names have one of these parts. What is zero everywhere has no column.
pub fn print(adapter: &str, parts: &[&str]) -> Result<()> {
    let driver = Driver::open(adapter)?;
    eprintln!("{}", driver.name);
    let (mut rows, mut columns, mut failed) = (Vec::new(), Vec::new(), 0);
    for (kernel, made_for) in made(driver.lanes, driver.memory, driver.half) {
        let (name, entry) = name(kernel);
        if !parts.is_empty() && !parts.iter().any(|part| name.contains(part)) {
            continue;
        }
        // So that one sees which of them takes long, or brings the driver down.
        eprintln!("{} {entry} {made_for}", kernel.name);
        let executables = match driver.compiled(kernel) {
            Ok(executables) => executables,
            Err(error) => {
                eprintln!("    {error}");
                failed += 1;
                continue;
            }
        };
        let entry = if entry == "main" { String::new() } else { format!(" `{entry}`") };
        let several = executables.len() > 1;
        for (executable, counts) in executables {
            let executable = if several { format!(", {executable}") } else { String::new() };
            for (column, _) in &counts {
                if !columns.contains(column) {
                    columns.push(column.clone());
                }
            }
            rows.push((format!("| `{name}`{entry}{executable} | {made_for}"), counts));
        }
    }
    let (shown, zero): (Vec<_>, Vec<_>) = columns.into_iter().partition(|column| {
        rows.iter().flat_map(|(_, counts)| counts).any(|(name, count)| name == column && *count != 0)
    });
    println!("| kernel | made for | {} |", shown.join(" | "));
    println!("| --- | --- |{}", " --- |".repeat(shown.len()));
    for (kernel, counts) in &rows {
        let count =
            |column: &String| counts.iter().find(|(name, _)| name == column).map(|(_, count)| count.to_string());
        let counts: Vec<_> = shown.iter().map(|column| count(column).unwrap_or_default()).collect();
        println!("{kernel} | {} |", counts.join(" | "));
    }
    if !zero.is_empty() {
        println!("\nZero everywhere: {}", zero.join(", "));
    }
    if failed > 0 { Err(format!("{failed} kernels were not compiled").into()) } else { Ok(()) }
}
