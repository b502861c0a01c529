//! The program as a child process that speaks JSON lines, certificates in files, and a proxy that can be cut.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;

/// Bounds a failure; every wait ends with its event.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program, without what the environment of the tests may say.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keepbeat"));
    for variable in ["KEEPBEAT_TOKEN", "KEEPBEAT_SERVE_TOKEN", "KEEPBEAT_PROXY"] {
        command.env_remove(variable);
    }
    command
}

/// A program that runs. It is killed when it is dropped.
pub(crate) struct Keepbeat {
    child: Child,
    stdin: Option<ChildStdin>,
    events: Receiver<Value>,
    seen: Vec<Value>,
}

impl Keepbeat {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command();
        command.args(arguments).arg("--json").envs(environment.iter().copied());
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, events) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { stdin: child.stdin.take(), child, events, seen: Vec::new() }
    }

    /// The next event of this name.
    #[track_caller]
    pub(crate) fn until(&mut self, name: &str) -> Value {
        loop {
            let Ok(event) = self.events.recv_timeout(PATIENCE) else {
                panic!("no {name} came; before: {:?}", self.seen);
            };
            self.seen.push(event.clone());
            if event["event"] == name {
                return event;
            }
        }
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Says a line, and waits for it to come back.
    #[track_caller]
    pub(crate) fn echo(&mut self, line: &str) {
        self.say(line);
        assert_eq!(self.until("message")["text"], line);
    }

    /// Ends stdin, and waits for the exit code and what stands on stderr.
    #[track_caller]
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        drop(self.stdin.take());
        while let Ok(event) = self.events.recv_timeout(PATIENCE) {
            self.seen.push(event);
        }
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap().code(), stderr)
    }
}

impl Drop for Keepbeat {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A certificate and its key, in files.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Identity {
    /// As options of the program.
    pub(crate) fn options(&self) -> [&str; 4] {
        ["--cert", text(&self.certificate), "--key", text(&self.key)]
    }
}

/// An authority, and a folder of its own for what it signs. The folder goes with it.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("keepbeat-tls-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (mut params, key) = (params(name, &[]), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(folder.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate.
    pub(crate) fn root(&self) -> String {
        text(&self.folder.join("ca.pem")).to_owned()
    }

    /// A certificate for this common name and these names and addresses.
    pub(crate) fn sign(&self, name: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = params(name, names);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let file = |end: &str| self.folder.join(format!("{name}.{end}"));
        let identity = Identity { certificate: file("pem"), key: file("key") };
        fs::write(&identity.certificate, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }

    /// A file with this text in it.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap();
        text(&path).to_owned()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn params(name: &str, names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An HTTP proxy whose connections can be cut.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    common: Arc<Mutex<Common>>,
}

/// What its threads share: the sockets that are open, what was asked of it, and what passed from the clients.
#[derive(Default)]
struct Common {
    open: Vec<TcpStream>,
    asked: String,
    passed: Vec<u8>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let common = Arc::<Mutex<Common>>::default();
        let shared = common.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, common) = (client.unwrap(), shared.clone());
                thread::spawn(move || tunnel(client, &common));
            }
        });
        Self { port, common }
    }

    /// What the clients asked for, in the words of HTTP.
    pub(crate) fn asked(&self) -> String {
        self.common.lock().unwrap().asked.clone()
    }

    /// What the clients sent through the tunnels.
    pub(crate) fn passed(&self) -> Vec<u8> {
        self.common.lock().unwrap().passed.clone()
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        for stream in self.common.lock().unwrap().open.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn tunnel(mut client: TcpStream, common: &Arc<Mutex<Common>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).unwrap() == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let address = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
    let server = TcpStream::connect(address);
    common.lock().unwrap().asked += &head;
    let Ok(mut server) = server else {
        client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").unwrap();
        return;
    };
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    common.lock().unwrap().open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
    thread::spawn(move || {
        drop(std::io::copy(&mut from_server, &mut to_client));
        drop(to_client.shutdown(Shutdown::Both));
    });
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        common.lock().unwrap().passed.extend_from_slice(&buffer[..count]);
        if server.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    drop(server.shutdown(Shutdown::Both));
}
