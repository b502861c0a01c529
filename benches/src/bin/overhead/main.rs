//! What one connection that only beats costs its server: memory, processor time and system calls, for keepbeat's adapters
//! and for what a user would otherwise write, beside a bare loop that is the floor for all of them.
//!
//! Every server runs in a process of its own on one processor; this process holds all clients, on another one.
//!
//! ```sh
//! cargo run --release -p keepbeat-benches --bin overhead
//! cargo run --release -p keepbeat-benches --bin overhead -- --links 500 --seconds 3 --rounds 1
//! ```

#[cfg(target_os = "linux")]
mod args;
#[cfg(target_os = "linux")]
mod counters;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod native;
#[cfg(target_os = "linux")]
mod plot;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod servers;

#[cfg(target_os = "linux")]
fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    use clap::Parser;

    let args = args::Args::parse();
    if let Some(server) = args.serve {
        servers::run(server, args.interval, args.links)?;
        return Ok(std::process::ExitCode::SUCCESS);
    }
    let table = measure::all(&args)?;
    if args.json {
        println!("{:#}", table.json());
    } else {
        print!("{table}");
    }
    if let Some(path) = &args.plot {
        std::fs::write(path, plot::svg(&table)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if table.is_whole() {
        return Ok(std::process::ExitCode::SUCCESS);
    }
    eprintln!("overhead: links were lost, or rounds failed; see the table");
    Ok(std::process::ExitCode::FAILURE)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("The overhead table reads /proc, which only Linux has.");
}
