//! keepbeat on the async runtimes, each with one thread for all links.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::Duration;

use keepbeat_adapter::{Link, Listener};
use keepbeat_core::client::LinkState;
use tokio::runtime::{Builder, Runtime};

use super::{Clients, client_config, run_until, server_config};

pub(super) fn serve_on_tokio(address: &Sender<SocketAddr>) -> ! {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = keepbeat_tokio::Listener::bind("127.0.0.1:0", server_config()).await.unwrap();
        wait_in(&listener, address).await
    })
}

pub(super) fn serve_on_smol(address: &Sender<SocketAddr>) -> ! {
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let mut builder = keepbeat_smol::Listener::builder(server_config());
        let (listener, driver) = builder.build("127.0.0.1:0").await.unwrap();
        executor.spawn(driver).detach();
        wait_in(&listener, address).await
    }))
}

async fn wait_in(listener: &Listener, address: &Sender<SocketAddr>) -> ! {
    address.send(listener.local_addr()).unwrap();
    while listener.next_event().await.is_some() {}
    pending().await
}

pub(super) struct OnTokio {
    links: Vec<Link>,
    runtime: Runtime,
}

impl OnTokio {
    pub(super) fn open(server: SocketAddr, links: usize, interval: Duration) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let guard = runtime.enter();
        let open = |link| keepbeat_tokio::Link::open(server.to_string(), client_config(link, interval)).into();
        let links = (0..links).map(open).collect();
        drop(guard);
        let mut clients = Self { links, runtime };
        run_until(&mut clients, "all links are up", |clients| all_up(&clients.links));
        clients
    }
}

impl Clients for OnTokio {
    fn run_for(&mut self, span: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(span).await });
    }

    fn answered(&mut self) -> u64 {
        answered(&self.links)
    }
}

pub(super) struct OnSmol {
    links: Vec<Link>,
    executor: smol::LocalExecutor<'static>,
}

impl OnSmol {
    pub(super) fn open(server: SocketAddr, links: usize, interval: Duration) -> Self {
        let executor = smol::LocalExecutor::new();
        let open = |link| {
            let builder = keepbeat_smol::Link::builder(server.to_string(), client_config(link, interval));
            let (link, driver) = builder.build().unwrap();
            executor.spawn(driver).detach();
            link.into()
        };
        let links = (0..links).map(open).collect();
        let mut clients = Self { links, executor };
        run_until(&mut clients, "all links are up", |clients| all_up(&clients.links));
        clients
    }
}

impl Clients for OnSmol {
    fn run_for(&mut self, span: Duration) {
        smol::block_on(self.executor.run(smol::Timer::after(span)));
    }

    fn answered(&mut self) -> u64 {
        answered(&self.links)
    }
}

// Events are of no interest: those that nobody takes are outdated by later ones.

fn all_up(links: &[Link]) -> bool {
    links.iter().all(|link| matches!(link.state(), LinkState::Up { .. }))
}

fn answered(links: &[Link]) -> u64 {
    links.iter().map(|link| u64::from(link.evidence().expect("a link went down").beats_answered)).sum()
}
