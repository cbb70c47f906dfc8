//! `bindgen IN.wasm OUT_DIR`: what `wasm-bindgen --target web` does.
//!
//! The program of that name must have the very version of the crate `wasm-bindgen`. As a library in this workspace it has it by
//! itself: both hang on one `wasm-bindgen-shared`, and `Cargo.lock` has room for one.

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, folder] = &arguments[..] else { panic!("give the .wasm file and the folder to write to") };
    wasm_bindgen_cli_support::Bindgen::new()
        .input_path(input)
        .web(true)
        .expect("no other target was chosen")
        .typescript(true)
        .omit_default_module_path(true)
        .generate(folder)
        .unwrap_or_else(|error| panic!("{error:#}"));
}
