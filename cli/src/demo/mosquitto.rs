//! A broker of the demo's own: mosquitto, on a port and with a folder that nobody else uses.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use keepbeat_tokio::clock::Clock;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::certificate::Certificate;
use super::relay::Port;
use super::schedule::Act;
use super::stage::{Phase, Stage};

/// Where Debian and those who build it themselves put it, and users have no path to.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// It starts, and ends, in a fraction of this.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Messages arrive, and their handshakes end, in a fraction of this.
const QUIET_WITHIN: Duration = Duration::from_millis(500);
const HANDSHAKE: Duration = Duration::from_millis(100);

/// What can happen to it, in this order.
pub(super) const INCIDENTS: &[Act] = if cfg!(unix) { &[Act::ServerStop, Act::ServerRestart] } else { &[] };

/// The program.
pub(super) fn find() -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    let mut programs = folders.map(|folder| folder.join(format!("mosquitto{}", env::consts::EXE_SUFFIX)));
    programs.find(|program| program.is_file()).ok_or_else(|| {
        "demo: there is no mosquitto in PATH, /usr/sbin or /usr/local/sbin: install it (on Debian: apt install mosquitto), or \
         give a broker with --broker mqtt://HOST"
            .to_owned()
    })
}

/// A broker that runs. It ends with its handle.
pub(super) struct Mosquitto {
    // In this order: the process ends before its folder goes.
    process: Process,
    folder: Folder,
    port: Port,
    program: PathBuf,
}

impl Mosquitto {
    pub(super) async fn start(program: PathBuf, tls: Option<&Certificate>) -> io::Result<Self> {
        let folder = Folder::create()?;
        let mut port = Port::reserve()?;
        folder.configure(port.address(), tls)?;
        let process = run(&program, &folder, &mut port).await?;
        Ok(Self { process, folder, port, program })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Does to it what is asked for, until the run is over.
    pub(super) async fn play(mut self, stage: Arc<Stage>, mut incidents: mpsc::Receiver<(Act, Duration)>) {
        let mut phases = stage.phase();
        while *phases.borrow_and_update() != Phase::Over {
            tokio::select! {
                _ = phases.changed() => {}
                Some((act, lasts)) = incidents.recv() => {
                    let done = match act {
                        Act::ServerStop => self.stop(&stage, lasts).await,
                        _ => self.restart(&stage, lasts).await,
                    };
                    if let Err(error) = done {
                        return stage.watch().broke(Clock::now(), 0, &format!("the broker cannot go on: {error}"));
                    }
                }
            }
        }
    }

    /// It falls silent, and goes on.
    async fn stop(&mut self, stage: &Stage, lasts: Duration) -> io::Result<()> {
        stage.watch().fault_begins(Clock::now(), None, Act::ServerStop, lasts);
        self.process.signal(Signal::Stop)?;
        sleep(lasts).await;
        stage.watch().fault_ends(Clock::now(), None);
        self.process.signal(Signal::GoOn)
    }

    /// It writes what it keeps, ends, and another one reads that. Of a message at QoS 2 whose handshake is not over then, it may
    /// forget that the client has it (seen with 2.0.11), and send it again: so there is none.
    async fn restart(&mut self, stage: &Stage, lasts: Duration) -> io::Result<()> {
        stage.hush(true);
        let quiet = async {
            while !stage.is_quiet() {
                sleep(LOOK_AGAIN).await;
            }
        };
        drop(timeout(QUIET_WITHIN, quiet).await);
        sleep(HANDSHAKE).await;
        stage.watch().fault_begins(Clock::now(), None, Act::ServerRestart, lasts);
        self.process.signal(Signal::End)?;
        stage.hush(false);
        let late = || io::Error::new(io::ErrorKind::TimedOut, "it does not end when it is asked to");
        timeout(PATIENCE, self.process.ended()).await.map_err(|_| late())??;
        sleep(lasts).await;
        stage.watch().fault_ends(Clock::now(), None);
        self.process = run(&self.program, &self.folder, &mut self.port).await?;
        Ok(())
    }
}

/// Starts it and waits until it listens.
async fn run(program: &Path, folder: &Folder, port: &mut Port) -> io::Result<Process> {
    match Process::start(program, folder, port.address()).await {
        Err(error) if port.gives_way(&error) => Process::start(program, folder, port.address()).await,
        result => result,
    }
}

enum Signal {
    Stop,
    GoOn,
    End,
}

/// Is killed with its handle.
struct Process(Child);

impl Process {
    /// Waits until it listens.
    async fn start(program: &Path, folder: &Folder, address: SocketAddr) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg("-c").arg(folder.config()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(File::create(folder.log())?).spawn().map(Self)?;
        let listens = async {
            while TcpStream::connect(address).await.is_err() {
                if let Some(status) = process.0.try_wait()? {
                    return Err(folder.why_it_ended(status));
                }
                sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "it does not listen");
        timeout(PATIENCE, listens).await.map_err(|_| late())??;
        Ok(process)
    }

    #[cfg(unix)]
    fn signal(&self, signal: Signal) -> io::Result<()> {
        use rustix::process::{Pid, Signal as Number, kill_process};
        let number = match signal {
            Signal::Stop => Number::STOP,
            Signal::GoOn => Number::CONT,
            Signal::End => Number::TERM,
        };
        Ok(kill_process(Pid::from_child(&self.0), number)?)
    }

    /// Nobody calls it there: see [`INCIDENTS`].
    #[cfg(not(unix))]
    fn signal(&self, _: Signal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn ended(&mut self) -> io::Result<()> {
        while self.0.try_wait()?.is_none() {
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Where it keeps its files. It goes with its handle.
struct Folder(PathBuf);

impl Folder {
    /// One that others cannot read.
    fn create() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("keepbeat-demo-{}-{}", std::process::id(), Clock::now().as_nanos()));
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }

    fn config(&self) -> PathBuf {
        self.0.join("mosquitto.conf")
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Lets everybody on this machine in, keeps every message, and keeps sessions over restarts. A limit of messages in flight,
    /// of which MQTT 3.1.1 cannot tell its clients, would make it lose those that are beyond it.
    fn configure(&self, address: SocketAddr, tls: Option<&Certificate>) -> io::Result<()> {
        let folder = self.0.display();
        let mut config = format!(
            "user root\nallow_anonymous true\npersistence true\npersistence_location {folder}/\nmax_queued_messages 0\n\
             max_inflight_messages 0\nset_tcp_nodelay true\nlog_type error\nlog_type warning\nlistener {} {}\n",
            address.port(),
            address.ip()
        );
        if let Some(certificate) = tls {
            fs::write(self.0.join("certificate.pem"), &certificate.pem)?;
            fs::write(self.0.join("key.pem"), &certificate.key)?;
            config += &format!("certfile {folder}/certificate.pem\nkeyfile {folder}/key.pem\n");
        }
        fs::write(self.config(), config)
    }

    /// As an error that says whether the port is taken.
    fn why_it_ended(&self, status: ExitStatus) -> io::Error {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let last = log.lines().last().unwrap_or("it says nothing");
        let kind = if log.contains("in use") { io::ErrorKind::AddrInUse } else { io::ErrorKind::Other };
        io::Error::new(kind, format!("mosquitto ended with {status}: {last}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
