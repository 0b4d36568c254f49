//! The `lumoauth` binary.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    lumoauth::telemetry::install_crypto_provider();
    lumoauth::cli::main()
}
