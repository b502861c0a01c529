//! Tells the benches which compiler made them.

use std::process::Command;

fn main() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output();
    let version =
        version.map_or_else(|_| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
    println!("cargo:rustc-env=KEEPBEAT_RUSTC={}", version.trim());
    println!("cargo:rerun-if-changed=build.rs");
}
