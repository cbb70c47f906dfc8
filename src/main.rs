//! The command line: parse → config → pull events → print. All training logic is the library's.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
