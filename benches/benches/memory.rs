//! Memory: bytes per idle link, by a counting allocator and by what is resident.
//!
//! `cargo bench -p keepbeat-benches --bench memory [-- --links 1000]`. Criterion measures times, so this prints two tables
//! of its own. Every number is a difference between before the links and after, divided by their count; every link has had
//! a beat answered in between.
//!
//! - `core`: the machines alone, without sockets, in one process each.
//! - `loopback`: both ends of each contender of `keepbeat_benches::loopback`, each a process of its own. What the kernel
//!   holds for the sockets is in neither column.
//!
//! `heap` is what was asked of the allocator and not given back; `resident` is VmRSS, which also has the allocator's own
//! overhead and slack, and grows in pages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use keepbeat_benches::deadlines::{Deadlines, Served};
use keepbeat_benches::loopback::{Clients, Contender};
use keepbeat_benches::process::{is_smoke, raise_descriptor_limit, resident};
use keepbeat_benches::town::Town;

/// The system's allocator; counts the bytes that are held.
struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: everything is the system allocator's; the counter does not allocate.
#[expect(unsafe_code, reason = "a counting allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    // Passed on, so that memory which nobody writes to does not become resident.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HELD.fetch_add(size as isize - layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Every link beats once in this time.
const INTERVAL: Duration = Duration::from_secs(1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--machines", what, links] => machines(what, links.parse().unwrap()),
        ["--serve", contender] => serve(Contender::named(contender).unwrap()),
        ["--open", contender, address, links] => {
            let contender = Contender::named(contender).unwrap();
            open(contender, address, links.parse().unwrap());
        }
        _ => {
            let given = words.iter().position(|word| *word == "--links").map(|place| words[place + 1].parse().unwrap());
            let usual = if is_smoke() { 10 } else { 1000 };
            tables(given.unwrap_or(usual), if is_smoke() { 1000 } else { 100_000 });
        }
    }
}

fn tables(links: usize, machines: usize) {
    raise_descriptor_limit().unwrap();
    println!("memory/core: bytes per idle link of {machines}\n{:20}{:>16}{:>16}", "", "heap", "resident");
    for what in ["server", "both-ends"] {
        let mut process = Process::start(&["--machines", what, &machines.to_string()]);
        let before = process.memory();
        process.expect("ready");
        row(what, &[process.memory().since(before, machines)]);
    }
    println!("\nmemory/loopback: bytes per idle link of {links}");
    println!("{:20}{:>16}{:>16}{:>16}{:>16}", "", "client heap", "resident", "server heap", "resident");
    for contender in Contender::ALL {
        let mut server = Process::start(&["--serve", contender.name()]);
        let address = server.line();
        let server_before = server.memory();
        let mut client = Process::start(&["--open", contender.name(), &address, &links.to_string()]);
        let client_before = client.memory();
        client.expect("ready");
        let figures = [client.memory().since(client_before, links), server.memory().since(server_before, links)];
        row(contender.name(), &figures);
    }
}

fn row(name: &str, figures: &[Memory]) {
    print!("{name:20}");
    for Memory { heap, resident } in figures {
        print!("{heap:>16}{resident:>16}");
    }
    println!();
}

/// In bytes.
#[derive(Clone, Copy)]
struct Memory {
    heap: isize,
    resident: isize,
}

impl Memory {
    const fn since(self, before: Self, links: usize) -> Self {
        let links = links as isize;
        Self { heap: (self.heap - before.heap) / links, resident: (self.resident - before.resident) / links }
    }
}

/// This program again. It answers every line with its memory.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "a process of this bench has ended");
        line.trim().to_owned()
    }

    fn expect(&mut self, word: &str) {
        assert_eq!(self.line(), word);
    }

    fn memory(&mut self) -> Memory {
        writeln!(self.input).unwrap();
        let line = self.line();
        let (heap, resident) = line.split_once(' ').unwrap();
        Memory { heap: heap.parse().unwrap(), resident: resident.parse().unwrap() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has told everything.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Answers one line. `false` at the end of input.
fn report() -> bool {
    // In no buffer, so that nothing changes between two reports.
    let mut line = String::with_capacity(8);
    let more = std::io::stdin().read_line(&mut line).unwrap() > 0;
    println!("{} {}", HELD.load(Ordering::Relaxed), resident(std::process::id()).unwrap());
    more
}

fn machines(what: &str, links: usize) {
    report();
    match what {
        "server" => {
            let served = black_box(Served::new(links));
            finish();
            drop(served);
        }
        _ => {
            let mut town = Town::new(links);
            (0..links).for_each(|_| town.beat());
            finish();
            drop(town);
        }
    }
}

fn finish() {
    println!("ready");
    report();
}

fn serve(contender: Contender) -> ! {
    raise_descriptor_limit().unwrap();
    let (sender, address) = channel();
    std::thread::spawn(move || {
        println!("{}", address.recv().unwrap());
        while report() {}
        std::process::exit(0);
    });
    contender.serve(&sender)
}

fn open(contender: Contender, address: &str, links: usize) {
    raise_descriptor_limit().unwrap();
    report();
    let mut clients: Box<dyn Clients> = contender.open(address.parse().unwrap(), links, INTERVAL);
    // The last one's beat is answered in the interval after it came up.
    clients.run_for(2 * INTERVAL);
    assert!(clients.answered() >= links as u64, "every link has beaten");
    finish();
    drop(clients);
}
