//! Very many links against a server with as many connections, each side one thread of a process of its own.
//!
//! All links come up, beat for a while, lose their server by SIGKILL, and find the next one on the same port. Prints what
//! that took, and fails if a link was suspected, lost or left behind, or a message got lost.
//!
//! ```sh
//! cargo run --release -p keepbeat-mio --example scale -- --links 10000 --seconds 60
//! ```

#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod server;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut links = 1000;
    let mut seconds = 10;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--links" => links = value.parse()?,
            "--seconds" => seconds = value.parse()?,
            // The second process.
            "--serve" => return server::run(&value),
            _ => return Err(format!("unknown argument {argument}; there are --links and --seconds").into()),
        }
    }
    client::run(links, std::time::Duration::from_secs(seconds))
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("This example reads /proc, which only Linux has.");
}
