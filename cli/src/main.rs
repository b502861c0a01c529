//! `keepbeat`: heartbeats, dead-peer detection and reconnection on the command line. The manual is `docs/cli.md`.

mod args;
mod auth;
mod connect;
mod demo;
mod echo;
mod endpoint;
mod input;
mod mqtt;
mod output;
mod protocol;
mod report;
mod runtime;
mod security;
mod serve;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use output::{USAGE, fail};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version go to stdout.
        Err(asked) if !asked.use_stderr() => {
            drop(asked.print());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let first = std::env::args().nth(1);
            return fail(USAGE, &format!("{}; see {}", args::in_one_line(error), args::help_for(first.as_deref())));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Connect(args) => connect::run(*args).await,
        }
    });
    // Nobody waits for a look-up that is still under way.
    runtime.shutdown_background();
    code
}
