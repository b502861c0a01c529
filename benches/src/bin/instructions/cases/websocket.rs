//! WebSocket frames, read and written by both roles: ours beside other codecs. `keepbeat_benches::websocket` says what the work
//! is. Of long copies the same holds as of `frames`.

use keepbeat_benches::websocket::{
    Copied, FastReading, FastWriting, Load, OursReading, OursWriting, Reader, Stream, TungsteniteReading,
    TungsteniteWriting, Writer,
};
use keepbeat_core::wire::Role;

use super::{Case, counted_operation};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for role in [Role::Client, Role::Server] {
        for load in Load::ALL {
            cases.extend([
                reads::<OursReading>(load, role),
                reads::<TungsteniteReading>(load, role),
                reads::<FastReading>(load, role),
                writes::<OursWriting>(load, role),
                writes::<TungsteniteWriting>(load, role),
                writes::<FastWriting>(load, role),
            ]);
            // Nothing is copied of a pong.
            if load != Load::Control {
                cases.push(reads::<Copied>(load, role));
            }
        }
    }
    cases
}

const fn name_of(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

fn reads<R: Reader>(load: Load, role: Role) -> Case {
    let name = format!("websocket/{} reads/{}/{}", name_of(role), load.name(), R::NAME);
    Case::new(name, load.frames(), 2, move |times| {
        let stream = Stream::new(load, role);
        let all = R::all(&stream);
        let mut reader = R::new(stream);
        for _ in 0..times {
            let found = counted_operation(|| reader.read());
            if found != all {
                return Err(format!("{found:?} is not all: {all:?}"));
            }
        }
        Ok(())
    })
}

fn writes<W: Writer>(load: Load, role: Role) -> Case {
    let name = format!("websocket/{} writes/{}/{}", name_of(role), load.name(), W::NAME);
    Case::new(name, load.frames(), 2, move |times| {
        let mut writer = W::new(role, load.unit());
        for turn in 1..=times {
            let written = counted_operation(|| writer.write(load.frames()));
            if written < u64::from(turn) * load.frames() {
                return Err(format!("{written} bytes are not all"));
            }
        }
        Ok(())
    })
}
