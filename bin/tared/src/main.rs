//! tared: the daemon. Reads what it is told, takes its data, finds its containers, serves its clients.

mod given;
mod listen;
mod notify;
mod place;
mod registry;
mod rooms;
mod settings;
mod stop;

use std::process::ExitCode;

use anyhow::{Context, Result};
use settings::Settings;
use tracing::level_filters::LevelFilter;

/// Threads that serve; what blocks has its own, which end when they are idle.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tared: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args_os().peekable();
    let program = arguments.next();
    if arguments.peek().is_some_and(|word| word == "registry") {
        arguments.next();
        return registry::run(program.into_iter().chain(arguments));
    }
    let settings = Settings::read(std::env::args_os())?;
    if settings.validate_only {
        println!("configuration OK");
        return Ok(());
    }
    start_log(settings.log_level);
    raise_limit();
    let place = place::take(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(16)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .enable_all()
        .build()
        .context("cannot start the threads")?;
    let served = runtime.block_on(serve(&settings));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    place.leave();
    served
}

async fn serve(settings: &Settings) -> Result<()> {
    let stop = stop::Stop::listen()?;
    let listeners = listen::open(settings)?;
    let rooms = rooms::open(settings).await?;
    rooms.engine.reconcile().await.context("cannot take back what an earlier daemon left")?;
    let router = tare_docker::router(rooms::for_clients(&rooms, settings)?);
    tare_sys::heap::trim();
    notify::ready();
    tracing::info!("ready");
    tare_http::serve(listeners, router, tare_sys::heap::give_back, stop.wait(|| rooms::reload(&rooms))).await;
    rooms::close(rooms).await
}

/// Every client takes two descriptors, every published port one.
fn raise_limit() {
    if let Err(error) = tare_sys::descriptors::raise() {
        tracing::warn!(%error, "cannot raise the limit of open files: few clients and published ports are possible");
    }
}

fn start_log(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_max_level(level)
        .init();
}
